"""`echocart doctor`: what is wrong with a box, and what to do about it.

| file | looks at |
|---|---|
| `probe.py` | how a probe is run: alone, and never for long |
| `machine.py`, `disk.py` | clock, memory, temperature, GPU; the state directory's disk |
| `state.py` | ledger, permissions, back-ups, model |
| `running.py` | services, ports, certificates |
| `around.py` | carts, destinations, backlog |
| `bundle.py` | the support file, without patient data |
"""

from pathlib import Path

from appliance.doctor import around, disk, machine, running, state
from appliance.doctor.probe import PATIENCE_S, Asked, Finding, Probe, examine

PROBES: tuple[Probe, ...] = (
    *machine.PROBES,
    *disk.PROBES,
    *state.PROBES,
    *running.PROBES,
    *around.PROBES,
)

__all__ = ["PATIENCE_S", "PROBES", "Asked", "Finding", "diagnose"]


def diagnose(config: Path, patience_s: float = PATIENCE_S) -> list[Finding]:
    """Look at everything at once, whether the box runs, is stopped or broken.

    Parameters
    ----------
    config
        The box's TOML file; one with mistakes is a finding, and what doesn't need it goes on.
    patience_s
        Seconds after which a probe that hasn't answered is reported as such.
    """
    asked, finding = Asked.of(config)
    return [finding, *examine(PROBES, asked, patience_s)]

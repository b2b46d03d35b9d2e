"""Ten power cuts while the box works, and what is there afterwards (docs/reliability.md)."""

import time
from pathlib import Path

import pytest

from tests.system import machine, powercut

CUTS = 10


@pytest.mark.slow
@pytest.mark.timeout(10800)  # without KVM, a boot takes minutes
def test_what_was_confirmed_survives_the_power_being_cut(tmp_path: Path):
    machine.must_be_possible("qemu-system-x86_64", "mke2fs")
    outcome = powercut.cut_power(tmp_path, CUTS, seed=int(time.time()), decide=True)
    assert outcome.lost == []
    # In each boot, before its cut.
    assert outcome.objects > CUTS
    assert outcome.reviews > CUTS
    powercut.write_down(outcome)

"""Figures of the box's state for a monitoring system, read from the ledger when it asks.

Labels are services, destinations as the configuration names them, and kinds of state: nothing
names a patient, an object, a machine or a person.
"""

import statistics
import time
from datetime import date, datetime, timezone
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from appliance import deliveries, space, tls
from appliance.config import Settings
from appliance.doctor import running
from appliance.doctor.probe import output
from appliance.drift import account
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, analysis, engine_state
from appliance.spool import Spool
from appliance.supervisor import SERVICES
from appliance.upkeep import snapshot

_LOOPS = 50  # newest analyses


class Figures:
    """The gauges of a box. Those of reception are written by the receiver itself.

    Parameters
    ----------
    settings, ledger
        The box's.
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._registry = CollectorRegistry()

    def text(self) -> bytes:
        """Return all gauges as they are now, in Prometheus' text format."""
        self._services()
        self._room()
        self._work()
        self._speed()
        self._deliveries()
        self._certificates()
        self._drift()
        return generate_latest(self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"echocart_{name}", text, labels, registry=self._registry)

    def _services(self) -> None:
        up = self._gauge("service_up", "Whether a service runs", "service")
        there = running.held(self._settings.box.state_dir)
        for name in SERVICES:
            up.labels(name).set(name in there)
        restarts = self._gauge(
            "service_restarts", "Starts by systemd after an end or a watchdog's", "service"
        )
        for name, count in _restarts().items():
            restarts.labels(name).set(count)

    def _room(self) -> None:
        room = space.account(self._settings, self._ledger, Spool(self._settings.box.state_dir))
        days = self._gauge(
            "space_days", "Days until objects are refused; absent while unknown", "of"
        )
        if room["days_left"] is not None:
            days.labels("spool").set(room["days_left"])
        self._gauge("space_free_bytes", "Free below the spool").set(room["free_mb"] * 1e6)
        self._gauge("space_floor_bytes", "Below it objects are refused").set(room["floor_mb"] * 1e6)
        path = snapshot.folder(self._settings.box.state_dir) / "ledger.db"
        age = self._gauge("ledger_copy_age_seconds", "Age of the ledger's own copy", "of")
        if path.exists():
            age.labels("ledger").set(max(0.0, time.time() - path.stat().st_mtime))
        ledger = self._gauge("ledger_bytes", "Size of the ledger's files", "file")
        for suffix in ("", "-wal"):
            file = Path(f"{self._ledger.path}{suffix}")
            ledger.labels(f"db{suffix}").set(file.stat().st_size if file.exists() else 0)
        aside = self._settings.box.state_dir / "damaged"
        count = len(list(aside.iterdir())) if aside.is_dir() else 0
        self._gauge("ledgers_damaged", "Damaged ledgers that were set aside").set(count)

    def _work(self) -> None:
        states = self._gauge("instances", "Objects by state", "state")
        for name in ("received", "analysing", "analysed", "kept", "quarantined"):
            states.labels(name).set(0)
        for row in self._ledger.read("SELECT state, count(*) AS n FROM instance GROUP BY state"):
            states.labels(row["state"]).set(row["n"])
        self._gauge("loops_waiting", "Objects that wait for the engine").set(
            analysis.behind(self._ledger)
        )
        state = engine_state.get(self._ledger)
        degraded = bool(state and state["detail"].startswith(engine_state.CPU_SERVES))
        self._gauge("engine_degraded", "Whether the CPU draws in a GPU's place").set(degraded)

    def _speed(self) -> None:
        rows = [row for row in analysis.latest_timings(self._ledger, _LOOPS) if row["timings"]]
        spent = [row["timings"]["total_ms"] / row["timings"]["frames"] / 1000 for row in rows]
        due = [1 / row["timing"]["rate_hz"] if row["timing"].get("rate_hz") else 0 for row in rows]
        frame = self._gauge("frame_seconds", "Time for a frame, median of the newest loops", "of")
        missed = self._gauge("loops_missed_ratio", "Newest loops slower than they play", "of")
        if rows:
            frame.labels("engine").set(statistics.median(spent))
            slow = [took > limit > 0 for took, limit in zip(spent, due, strict=True)]
            missed.labels("engine").set(sum(slow) / len(rows))

    def _deliveries(self) -> None:
        waiting = self._gauge("deliveries_waiting", "Objects that wait", "destination")
        oldest = self._gauge("deliveries_oldest_seconds", "Age of the oldest", "destination")
        paused = self._gauge("destination_paused", "Whether somebody stopped it", "destination")
        now = datetime.now(timezone.utc)
        for row in deliveries.account(self._settings, self._ledger):
            count = row["waiting"] + row["in_flight"] + row["awaiting_commitment"]
            waiting.labels(row["name"]).set(count)
            since = datetime.fromisoformat(row["oldest"].replace("Z", "+00:00")) if count else now
            oldest.labels(row["name"]).set(max(0.0, (now - since).total_seconds()))
            paused.labels(row["name"]).set(row["paused"] is not None)

    def _drift(self) -> None:
        labels = ("model", "feature", "reference")
        differs = self._gauge(
            "drift_differs", "Whether a feature differs in the last week", *labels
        )
        ratio = self._gauge("drift_distance_ratio", "Distance over the least that counts", *labels)
        state = engine_state.get(self._ledger)
        for model in state["models"] if state else ():
            found = account.state(self._ledger, model["model"], date.today().isoformat())
            for item in found["features"]:
                named = (model["model"], item["feature"], item["source"])
                differs.labels(*named).set(item["differs"])
                if item["distance"] is not None:
                    ratio.labels(*named).set(item["distance"] / item["threshold"])

    def _certificates(self) -> None:
        end = self._gauge("certificate_expires_timestamp_seconds", "When one expires", "of")
        scp, webui = self._settings.scp, self._settings.webui
        files = {"scp": scp.tls_certificate, "ca": scp.tls_ca, "webui": webui.tls_certificate}
        for name, path in files.items():
            try:
                if path:
                    end.labels(name).set(tls.expiry(path).timestamp())
            except (ApplianceError, OSError, ValueError):
                end.labels(name).set(0)  # one that can't be read is as good as expired


def _restarts() -> dict[str, int]:
    units = [f"echocart-{name}.service" for name in SERVICES]
    told = output("systemctl", "show", "--property=NRestarts", *units, timeout_s=2.0) or ""
    counts = [line.partition("=")[2] for line in told.splitlines() if line]
    if len(counts) != len(SERVICES):
        return {}
    return {name: int(count or 0) for name, count in zip(SERVICES, counts, strict=True)}

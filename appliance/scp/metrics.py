"""Figures of reception: how much, how fast, how it ended. No name, title, UID or address."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pynetdicom import evt
from pynetdicom.events import Event

from appliance import metrics

log = logging.getLogger("echocart.scp")

WRITE_S = 5.0
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)


class Metrics:
    """Counters of one receiver, written to a file every few seconds.

    Outcomes of objects: `kept`, `duplicate`, `differs` (all three are successes), `no_room`,
    `mismatch`, `not_dicom`, `failed`, `broken_off`. Stages: `receive` (from the command to the
    last byte), `check`, `sync`, `record`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.bytes = Counter(
            "echocart_received_bytes", "Bytes of kept objects", registry=self.registry
        )
        self.free = Gauge(
            "echocart_free_bytes", "Free space below the spool", registry=self.registry
        )
        self.open = Gauge("echocart_associations_open", "Associations now", registry=self.registry)
        self._objects = Counter(
            "echocart_objects", "Objects by how they ended", ["outcome"], registry=self.registry
        )
        self._associations = Counter(
            "echocart_associations",
            "Associations by how they began",
            ["outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "echocart_reception_seconds",
            "Seconds of each stage of an object",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._written = -WRITE_S

    def count(self, outcome: str) -> None:
        """Add an object."""
        self._objects.labels(outcome).inc()

    def took(self, stage: str, seconds: float) -> None:
        """Add the time that a stage of one object took."""
        self._seconds.labels(stage).observe(seconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage that ends well."""
        started = time.perf_counter()
        yield
        self.took(name, time.perf_counter() - started)

    def handlers(self) -> list[evt.EventHandlerType]:
        """Return what counts associations, for pynetdicom."""
        return [
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_REJECTED, lambda event: self._associations.labels("rejected").inc()),
        ]

    def _accepted(self, event: Event) -> None:
        # The box's own look after itself is nobody's association.
        if event.assoc.requestor.ae_title != event.assoc.acceptor.ae_title:
            self._associations.labels("accepted").inc()

    def write(self, state_dir: Path, open_associations: int, free_bytes: int) -> None:
        """Write the file if it is time; a disk that refuses it holds nothing up."""
        if time.monotonic() - self._written < WRITE_S:
            return
        self._written = time.monotonic()
        self.open.set(open_associations)
        self.free.set(free_bytes)
        try:
            metrics.write(self.registry, state_dir, "scp")
        except OSError as error:
            log.warning("figures were not written (%s)", type(error).__name__)

"""A ledger and a spool with one loop that is decided again and again, and what is built for it."""

from pathlib import Path
from typing import Any

import numpy as np

from appliance import masks
from appliance.ledger import Ledger, delivery, review
from appliance.ledger.delivery import Delivery
from appliance.ledger.review import Decision
from appliance.sector.geometry import Geometry
from appliance.spool import Spool
from appliance.sync.results import Results
from appliance.sync.seg import Part10
from tests.sync.material import analysed, label_maps, some_measures, write_source

WANTED = [(name, kind) for name in ("usb", "pacs") for kind in ("seg", "sr")]


class Office:
    """One loop of 8 frames, 48 x 64, analysed."""

    def __init__(self, root: Path, source: Path | None = None, **elements: Any) -> None:
        self.root = root
        self.source = source or write_source(root / "source.dcm", **elements)
        self.ledger, self.spool = Ledger(root / "state"), Spool(root / "state")
        self.results = Results(self.ledger, self.spool, "Room 3")
        self.seq, self.sha256 = analysed(
            self.ledger, self.spool, self.source, label_maps(8, 48, 64)
        )
        self.wanted = WANTED
        self._keys = iter(range(100))

    def decide(self, decision: str, **changed: Any) -> dict[str, Any]:
        """Record a decision; a correction makes the ventricle larger at ED."""
        corrected = decision == "corrected"
        full = np.full((1, 48, 64), 1, np.uint8)
        chunk = self.spool.put_chunk(masks.encode_chunk(full))
        posted = Decision(
            seq=self.seq,
            analysis_sha256=self.sha256,
            patient_id="P1",
            decision=decision,
            reviewer="AK",
            key=f"key {next(self._keys)}",
            chunks=[(2, 1, chunk)] if corrected else [],
            geometry=Geometry.identity(48, 64).to_dict() if corrected else {},
            measures=some_measures(**changed) if corrected else {},
        )
        return review.record(self.ledger, posted, self.wanted)

    def leave(self, *destinations: str) -> dict[tuple[str, str], Part10]:
        """Send everything that is due; return it by destination and kind."""
        sent = {}
        while (leased := self.claim(*destinations)) is not None:
            (sent[leased.destination, leased.kind],) = self.results.build(leased)
            delivery.sent(self.ledger, leased)
            delivery.unproven(self.ledger, leased, "")
        return sent

    def claim(self, *destinations: str) -> Delivery | None:
        """Take the oldest delivery that is due."""
        return delivery.claim(self.ledger, "office", 60, destinations)

"""Results as they were built, kept: every try and every destination gets the same bytes.

They are built from rows that never change, but by a release that does: an update between two tries
would otherwise send another object under the same UID. The page's DICOMweb service shows them.
"""

import hashlib
import logging
import mmap
from collections.abc import Callable, Sequence

from appliance.errors import SpoolError
from appliance.ledger import Ledger, result
from appliance.ledger.connection import Row
from appliance.ledger.delivery import Delivery
from appliance.part10 import number, read_header, text
from appliance.spool import Spool, make_durable_folder, write_durably
from appliance.sync.content import on_disk
from appliance.sync.seg import Part10

log = logging.getLogger("echocart.sync")

KINDS = ("seg", "sr", "overlay")
_AT_ONCE = 50  # files removed at the most: the caller has other things to do


class Kept:
    """The results of a box, in its spool.

    Parameters
    ----------
    ledger, spool
        The box's.
    """

    def __init__(self, ledger: Ledger, spool: Spool) -> None:
        self._ledger, self._spool = ledger, spool

    def objects(
        self, delivery: Delivery, form: str, build: Callable[[], Sequence[Part10]]
    ) -> Sequence[Part10]:
        """Return the objects of a delivery: those that are kept, else built now and kept.

        Parameters
        ----------
        delivery
            Of a kind in `KINDS`.
        form
            Of the segmentations; "" for what has none.
        build
            Makes them.
        """
        rows = result.objects(self._ledger, delivery, form)
        found = [self._read(row) for row in rows]
        whole = [item for item in found if item is not None]
        if found and len(whole) == len(found):
            return whole
        made = build()
        try:
            self._keep(delivery, form, made)
        except (OSError, SpoolError) as error:
            # A full disk delays no result; it is only not shown to other programs.
            log.warning("instance %d: a result isn't kept (%s)", delivery.seq, type(error).__name__)
        return made

    def drop(self, wanted: int) -> int:
        """Remove files of what is delivered, oldest first; return how many bytes have gone.

        Parameters
        ----------
        wanted
            Bytes that should go.
        """
        gone = 0
        for row in result.may_be_dropped(self._ledger, _AT_ONCE) if wanted > 0 else []:
            if gone >= wanted:
                break
            # The file first: a kill in between leaves a row that is gone through again.
            self._spool.result_path(row["sha256"]).unlink(missing_ok=True)
            result.dropped(self._ledger, row["id"])
            gone += row["size"]
        return gone

    def _read(self, row: Row) -> Part10 | None:
        try:
            with self._spool.result_path(row["sha256"]).open("rb") as stream:
                view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):  # ValueError: an empty file can't be mapped
            return None
        if hashlib.sha256(view).hexdigest() != row["sha256"]:
            return None
        study = row["study_instance_uid"]
        return Part10(row["sop_instance_uid"], study, (view,), row["sha256"], row["size"])

    def _keep(self, delivery: Delivery, form: str, made: Sequence[Part10]) -> None:
        rows = []
        for place, item in enumerate(made, 1):
            path = self._spool.result_path(item.sha256)
            make_durable_folder(path.parent)
            write_durably(path, b"".join(item.parts))
            named = {"review_id": delivery.review_id, "kind": delivery.kind, "form": form}
            rows.append({**named, "number": place, **_described(item)})
        result.keep(self._ledger, rows)


def _described(item: Part10) -> Row:
    with on_disk(item) as path:
        header = read_header(path)
    dataset = header.dataset
    return {
        "sop_class_uid": text(dataset, "SOPClassUID"),
        "sop_instance_uid": item.SOPInstanceUID,
        "series_instance_uid": text(dataset, "SeriesInstanceUID"),
        "transfer_syntax_uid": header.TransferSyntaxUID,
        "modality": text(dataset, "Modality"),
        "series_number": int(number(dataset, "SeriesNumber")),
        "sha256": item.sha256,
        "size": item.size,
    }

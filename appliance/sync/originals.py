"""Objects as they arrived, forwarded byte for byte from the spool."""

import hashlib
import mmap
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import DeliveryError, SpoolError
from appliance.ledger import Ledger, worklist
from appliance.ledger.delivery import Delivery
from appliance.spool import Spool
from appliance.sync.seg import Part10


@dataclass(frozen=True)
class Original(Part10):
    """A received object: its one part is the file in the spool, mapped, and `path` is the file."""

    path: Path


def original(ledger: Ledger, spool: Spool, delivery: Delivery) -> Original:
    """Return the object of a delivery as it arrived.

    Raises
    ------
    DeliveryError
        When the ledger doesn't know it.
    SpoolError
        When its file is gone or damaged: nothing but what was received may be sent on.
    """
    row = worklist.loop(ledger, delivery.seq)
    if row is None:
        raise DeliveryError(
            "forward an object",
            "the ledger doesn't hold it",
            "Restore the ledger from its backup.",
        )
    path = spool.object_path(row["sha256"])
    view = _mapped(path)
    if hashlib.sha256(view).hexdigest() != row["sha256"]:
        raise _lost("its file in the spool is damaged")
    uids = (row["sop_instance_uid"], row["study_instance_uid"])
    return Original(*uids, (view,), row["sha256"], len(view), path)


def _mapped(path: Path) -> memoryview:
    try:
        with path.open("rb") as stream:
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:  # ValueError: an empty file can't be mapped
        raise _lost("its file in the spool can't be read") from error


def _lost(subject: str) -> SpoolError:
    return SpoolError(
        "forward an object", subject, "Check the disk; send the loop again from the machine."
    )

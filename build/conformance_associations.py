"""Tables of the conformance statement about associations: what is taken, limits, statuses."""

from collections.abc import Callable

from conformance_table import named, table
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION
from pynetdicom.presentation import build_context

from appliance import carts, commitment, dimse
from appliance.config import Settings
from appliance.errors import Part10Error, SpoolError
from appliance.scp import commitment as commitments
from appliance.scp import door, listener, negotiation, pump, request, store
from appliance.sync import asking, modules, pacs
from appliance.sync import commitment as reporting

# What a cart, a worklist or a viewer may propose although the box doesn't offer it.
_ASKED_FOR = (
    *("1.2.840.10008.5.1.4.31", "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.5.1.4.1.2.1.1"),
    *("1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.1"),
    *("1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.33"),
    *("1.2.840.10008.5.1.1.9", "1.2.840.10008.1.3.10", "1.2.840.10008.1.40"),
)


def _hex(status: int) -> str:
    return f"{status:04X}"


def storage_classes() -> list[str]:
    """Return every storage class of PS3.6 that the receiver takes, by UID."""
    classes = (uid for uid, row in UID_dictionary.items() if row[1] in ("SOP Class", ""))
    found = [uid for uid in classes if negotiation.is_storage(UID(uid))]
    return sorted(found, key=lambda uid: [int(part) for part in uid.split(".")])


def _accepted(SOPClassUID: str) -> bool:
    return bool(negotiation.supported([build_context(SOPClassUID, ExplicitVRLittleEndian)]))


def _storage() -> str:
    rows = (named(uid) for uid in storage_classes())
    return table(["SOP class", "UID"], rows)


def _refused() -> str:
    if taken := [uid for uid in _ASKED_FOR if _accepted(uid)]:
        raise LookupError(f"{', '.join(taken)}: accepted by now, and listed as refused")
    return table(["SOP class", "UID"], (named(uid) for uid in _ASKED_FOR))


def _identity() -> str:
    return table(
        ["", "implementation class UID", "version name"],
        [
            ("on associations", PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION),
            (
                "in the file meta information of objects made here",
                modules._IMPLEMENTATION_CLASS_UID,
                "`ECHOCART ` and the version",
            ),
        ],
    )


def _limits() -> str:
    scp = Settings.model_validate({"box": {"ae_title": "ECHOCART"}}).scp
    return table(
        ["", "value", "set by"],
        [
            ("maximum PDU received, bytes", scp.maximum_pdu, "`scp.maximum_pdu`"),
            ("maximum PDU sent, bytes", dimse._MAXIMUM_PDU, ""),
            ("length of an association request, bytes", request.MOST_BYTES, ""),
            *(
                (words, getattr(scp, name), f"`scp.{name}`")
                for words, name in (
                    ("associations at the same time", "maximum_associations"),
                    ("of them, from one IP address", "associations_of_an_address"),
                    ("of them, from one AE title at one address", "associations_of_a_cart"),
                )
            ),
            ("connections without an association, on each port", listener.UNASSOCIATED, ""),
            ("of them, from one IP address", listener.UNASSOCIATED_OF_ADDRESS, ""),
            ("seconds for the association request", f"{pump.REQUEST_S:g}", ""),
            ("seconds for each PDU, and of silence in a message", f"{pump.SILENCE_S:g}", ""),
            ("bytes/s that a message must keep up after that", pump.SLOWEST, ""),
            ("seconds of silence between messages", f"{pump.IDLE_S:g}", ""),
            ("seconds to connect to a peer", f"{dimse.CONNECT_S:g}", ""),
            ("seconds for a peer's answer to C-STORE and C-GET", f"{dimse.ANSWER_S:g}", ""),
            ("seconds for an answer to N-ACTION", f"{asking._ANSWER_S:g}", ""),
            ("seconds for an answer to N-EVENT-REPORT", f"{reporting._ANSWER_S:g}", ""),
            ("asynchronous operations", "none", ""),
        ],
    )


def _rejections() -> str:
    user, limit = door._PERMANENT_BY_USER, door._LOCAL_LIMIT_EXCEEDED
    calling, called = carts.CALLING_AE_NOT_RECOGNIZED, carts.CALLED_AE_NOT_RECOGNIZED
    return table(
        ["A-ASSOCIATE-RJ [PS3.8 9.3.4]", "result", "source", "reason"],
        [
            (
                "title or address of the caller isn't paired; a cart that must use TLS came without",
                *user,
                f"{calling}, calling AE title not recognized",
            ),
            (
                "the caller means another AE title than ours",
                *user,
                f"{called}, called AE title not recognized",
            ),
            (
                "as many associations are open as may be",
                *limit[:2],
                f"{limit[2]}, local limit exceeded",
            ),
        ],
    )


def _store_statuses() -> str:
    def of(error: Exception) -> str:
        return _hex(store.status_of(error))  # type: ignore[arg-type]

    facts = ("", "", "")
    return table(
        ["C-STORE status", "when", "what the cart should do"],
        [
            (
                _hex(store.SUCCESS),
                "file, directory and row are on disk; also for bytes that were here already",
                "nothing",
            ),
            (
                of(store.NoRoomError(*facts)),
                "less room than `scp.space_floor_mb` is free, or the disk is full; also in the"
                " middle of an object",
                "send again later",
            ),
            (
                of(store.MismatchError(*facts)),
                "SOP class or instance UID of the data set isn't that of the command; put aside",
                "have its service look at it",
            ),
            (
                of(Part10Error(*facts)),
                "the data set can't be read to its end, or lacks what identifies it",
                "send again; if it stays, its service",
            ),
            (
                of(SpoolError(*facts)),
                "disk or ledger failed; nothing is kept",
                "send again later",
            ),
        ],
    )


def _commitment_statuses() -> str:
    return table(
        ["N-ACTION status", "when"],
        [
            (_hex(commitments.SUCCESS), "recorded; the report follows"),
            (_hex(commitments.PROCESSING_FAILURE), "it could not be recorded; ask again"),
            (_hex(commitments.NO_SUCH_SOP_INSTANCE), "another instance than the well-known one"),
            (
                _hex(commitments.INVALID_ARGUMENT_VALUE),
                "Transaction UID, Referenced SOP Sequence or a UID in it is missing or not one",
            ),
            (
                _hex(commitments.NO_SUCH_ACTION),
                f"another action type than {commitments._REQUEST_STORAGE_COMMITMENT}",
            ),
            (
                _hex(commitments.NOT_AUTHORIZED),
                "nothing would keep the objects for good: no destination gets originals, and"
                " `scp.archive` isn't true; or the caller is a destination",
            ),
            (
                _hex(commitments.RESOURCE_LIMITATION),
                f"more than {commitments.MOST_ITEMS:,} objects",
            ),
        ],
    )


def _commitment_reasons() -> str:
    return table(
        ["in the report", "Failure Reason", "when"],
        [
            (
                "Referenced SOP Sequence",
                "",
                "the newest object of that UID is whole on disk; or its file was removed to make"
                " room after an archive gave back the same bytes",
            ),
            ("Failed SOP Sequence", _hex(commitment.NO_SUCH_OBJECT_INSTANCE), "not here"),
            (
                "Failed SOP Sequence",
                _hex(commitment.CLASS_INSTANCE_CONFLICT),
                "here under another SOP class",
            ),
            (
                "Failed SOP Sequence",
                _hex(commitment.PROCESSING_FAILURE),
                "its bytes are no longer those that were received, or can't be read: send it again",
            ),
        ],
    )


def _report_answers() -> str:
    return table(
        ["answer to an N-EVENT-REPORT", "when"],
        [
            (_hex(commitments.SUCCESS), "it is on disk"),
            (_hex(commitments.PROCESSING_FAILURE), "it could not be recorded; report again"),
            (
                _hex(commitments.INVALID_ARGUMENT_VALUE),
                "no transaction of ours, or a UID is missing or not one",
            ),
            (
                _hex(commitments.NOT_AUTHORIZED),
                "the caller's title is neither `called_ae` nor `commit_ae` of the destination that"
                " was asked",
            ),
            (
                _hex(commitments.RESOURCE_LIMITATION),
                f"more than {commitments.MOST_ITEMS:,} objects",
            ),
        ],
    )


def _asked_statuses() -> str:
    final = ", ".join(map(_hex, asking._FOR_GOOD))
    return table(
        ["N-ACTION status of the destination", "then"],
        [
            (
                _hex(asking._SUCCESS),
                "the report is waited for, `commit_within_s`, each time twice as long up to a day;"
                " then a new transaction asks",
            ),
            (
                f"{final}; context refused; {asking._HANGS_UP} times in a row none",
                'with `"auto"` the objects stay unproven; with `"commitment"` it is asked again',
            ),
            ("any other", "it is asked again, after growing pauses of at most five minutes"),
        ],
    )


def _sent_statuses() -> str:
    families = [
        (0x0000, "stored; proof follows"),
        (0xB000, "B000-BFFF: taken as stored, with a warning"),
        (0xA700, "A700-A7FF: the destination as a whole is left alone, and served again later"),
        (0xA900, "A900-A9FF: this object waits and is tried again"),
        (0xC000, "C000-CFFF: this object waits and is tried again"),
        *((status, "shown as `not taken there`, and tried again") for status in pacs._NOT_TAKEN),
    ]
    return table(
        ["C-STORE status of the destination", "in the box's words", "then"],
        ((_hex(status), dimse.text_of(status), then) for status, then in sorted(families)),
    )


TABLES: dict[str, Callable[[], str]] = {
    "identity": _identity,
    "limits": _limits,
    "rejections": _rejections,
    "store-statuses": _store_statuses,
    "commitment-statuses": _commitment_statuses,
    "commitment-reasons": _commitment_reasons,
    "report-answers": _report_answers,
    "asked-statuses": _asked_statuses,
    "sent-statuses": _sent_statuses,
    "refused": _refused,
    "storage": _storage,
}

"""What `echocart status` shows: every received instance with its state, review and deliveries.

No patient data: an instance is named by its SOPInstanceUID.
"""

from collections.abc import Collection
from typing import Any

from appliance.ledger import Ledger, worklist


def instances(
    ledger: Ledger, destinations: Collection[str], limit: int = 1_000_000
) -> list[dict[str, Any]]:
    """Return a JSON-ready account of each instance, in order of arrival.

    Parameters
    ----------
    ledger
        The box's ledger.
    destinations
        Names of the destinations that are configured: a result for another one waits for it.
    limit
        The newest so many.
    """
    rows = reversed(worklist.loops(ledger, limit))
    return [_account(ledger, row, destinations) for row in rows]


def _account(ledger: Ledger, row: dict[str, Any], destinations: Collection[str]) -> dict[str, Any]:
    analysis, review = row["analysis"], row["review"]
    return {
        "seq": row["seq"],
        "SOPInstanceUID": row["sop_instance_uid"],
        "current": row["current"],
        "state": row["state"],
        "reason": row["reason"],
        "received_at": row["received_at"],
        "size": row["size"],
        "sha256": row["sha256"],
        "analysis": analysis
        and {
            "model": f"{analysis['model_name']} {analysis['model_version']}",
            "engine": analysis["engine"],
            "precision": analysis["precision"],
            "frames": analysis["frames"],
            "sealed_at": analysis["sealed_at"],
            "measures": _figures(analysis["measures"]),
            "timings": analysis["timings"],
            "sha256": analysis["sha256"],
        },
        "review": review
        and {name: review[name] for name in ("decision", "reason", "reviewer", "at")},
        "deliveries": [_delivery(delivery, destinations) for delivery in row["deliveries"]],
        "history": worklist.history(ledger, row["seq"]),
    }


def _delivery(row: dict[str, Any], destinations: Collection[str]) -> dict[str, Any]:
    account = {name: row[name] for name in _DELIVERY}
    if row["state"] in ("queued", "sent") and row["destination"] not in destinations:
        account["problem"] = "this destination is no longer in the configuration"
    return account


_DELIVERY = (
    *("destination", "kind", "state", "tries", "problem", "queued_at", "changed_at", "sha256"),
    "result_sop_instance_uid",
)
_FIGURES = ("ef_percent", "ef_spread", "edv_ml", "esv_ml", "la_volume_ml", "withheld")


def _figures(measures: dict[str, Any]) -> dict[str, Any]:
    return {name: measures.get(name) for name in _FIGURES}

"""What `echocart status` shows: every received instance with its state, review and deliveries.

No patient data: an instance is named by its SOPInstanceUID.
"""

from typing import Any

from appliance.ledger import Ledger, worklist


def instances(ledger: Ledger, limit: int = 1_000_000) -> list[dict[str, Any]]:
    """Return a JSON-ready account of each instance, in order of arrival."""
    return [_account(ledger, row) for row in reversed(worklist.loops(ledger, limit))]


def _account(ledger: Ledger, row: dict[str, Any]) -> dict[str, Any]:
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
        "deliveries": [
            {name: delivery[name] for name in _DELIVERY} for delivery in row["deliveries"]
        ],
        "history": worklist.history(ledger, row["seq"]),
    }


_DELIVERY = (
    *("destination", "state", "tries", "problem", "queued_at", "changed_at", "sha256"),
    "result_sop_instance_uid",
)
_FIGURES = ("ef_percent", "ef_spread", "edv_ml", "esv_ml", "la_volume_ml", "withheld")


def _figures(measures: dict[str, Any]) -> dict[str, Any]:
    return {name: measures.get(name) for name in _FIGURES}

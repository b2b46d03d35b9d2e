"""What `echocart status` shows: each instance with its state, review and deliveries; room; clocks.

No patient data: an instance is named by its SOPInstanceUID.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any

from appliance import space
from appliance.config import Settings
from appliance.ledger import Ledger, engine_state, quarantine, skew, worklist
from appliance.spool import Spool


def box(settings: Settings, ledger: Ledger) -> dict[str, Any]:
    """Return a JSON-ready account of the box: room, objects put aside, carts' clocks, engine."""
    return {
        "space": space.account(settings, ledger, Spool(settings.box.state_dir)),
        "quarantine": quarantine.listed(ledger),
        "clocks": skew.by_cart(ledger),
        "engine": engine_state.get(ledger),
    }


def in_words(account: dict[str, Any]) -> list[str]:
    """Say the account of a box in lines, the room first."""
    refused = [
        f"put aside: an object of {row['calling_ae_title']} ({row['peer']}), {row['at']}:"
        f" {row['why']}"
        for row in account["quarantine"]
    ]
    clocks = [skew.in_words(row) for row in account["clocks"]]
    engine = engine_state.in_words(account["engine"])
    return [space.in_words(account["space"]), *([engine] if engine else []), *clocks, *refused]


def instances(
    ledger: Ledger, destinations: Collection[str], limit: int = 1_000_000
) -> list[dict[str, Any]]:
    """Return a JSON-ready account of each instance, in order of arrival.

    `same_uid` counts the objects that came under its UID with other bytes, itself included;
    of them one is `current`.

    Parameters
    ----------
    ledger
        The box's ledger.
    destinations
        Names of the destinations that are configured: a result for another one waits for it.
    limit
        The newest so many.
    """
    rows = worklist.loops(ledger, limit)[::-1]
    of_uid = Counter(row["sop_instance_uid"] for row in rows)
    return [
        {
            **_account(ledger, row, destinations),
            "same_uid": of_uid[row["sop_instance_uid"]],
        }
        for row in rows
    ]


def _account(ledger: Ledger, row: dict[str, Any], destinations: Collection[str]) -> dict[str, Any]:
    analysis, review = row["analysis"], row["review"]
    return {
        "seq": row["seq"],
        "SOPInstanceUID": row["sop_instance_uid"],
        "current": row["current"],
        "state": row["state"],
        "reason": row["reason"],
        "received_at": row["received_at"],
        "purged_at": row["purged_at"],
        "kept_in": row["kept_in"],
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

"""Short words for what the ledger holds about deliveries."""

from typing import Any

import pytest

from appliance.ledger import outbox
from appliance.webui import words


def row(kind: str, state: str, review_id: int | None = 1, problem: str = "") -> dict[str, Any]:
    said = {"problem": problem, "queued_at": "2026-11-20T20:38:04.000Z"}
    return {"destination": "pacs", "kind": kind, "state": state, "review_id": review_id, **said}


def title(*rows: dict[str, Any]) -> str:
    (mark,) = words.marks({"deliveries": rows})
    return mark["title"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("seg", "proven"), row("sr", "proven")], "In pacs, proven."),
        ([row("seg", "proven"), row("sr", "queued")], "On its way to pacs."),
        ([row("seg", "unproven", problem="no reply")], "In pacs, which offers no proof."),
        ([row("seg", "withdrawn")], "Not sent to pacs: taken back before it left."),
        (
            [row("seg", "withdrawn", problem=outbox.REPLACED)],
            "Not sent to pacs: the machine sent the loop again with other content first.",
        ),
        ([row("seg", "proven"), row("seg", "withdrawn", 2)], "In pacs, proven."),
        (
            [row("seg", "proven"), row("rejection", "proven", 2)],
            "The result before is marked as replaced in pacs.",
        ),
        ([row("original", "queued", None), row("seg", "proven")], "On its way to pacs."),
        (
            [row("correction", "refused", problem="the sector isn't certain.")],
            "Not sent to pacs: the sector isn't certain.",
        ),
    ],
)
def test_a_destination_s_mark_tells_how_far_the_newest_decision_is(rows, expected):
    assert title(*rows) == expected


def test_a_delivery_in_trouble_is_told_with_since_when():
    assert title(row("seg", "queued", problem="no route")).startswith("Not delivered to pacs since")

"""Which role opens which route: one table, and a route that isn't in it keeps the page from starting."""

from collections.abc import Collection

from flask import Flask

from appliance.ledger import upstream

LOOKS = frozenset({"sonographer", "expert"})  # sees patients
REVIEWS = LOOKS
LEARNS = frozenset({"expert"})
TENDS = frozenset({"biomed", "admin"})  # sees the box, no patient
MANAGES = frozenset({"admin"})
RELEASES = frozenset(upstream.RELEASING)  # says whether a correction names somebody
ANY = LOOKS | TENDS
PROGRAM = (
    "program"  # whoever shows a token: it reads patients over DICOMweb, and opens nothing else
)
NOBODY_YET = frozenset({""})  # also who hasn't signed in

# No identifiers, and a monitoring system has no PIN: whoever asks from this machine gets them.
FROM_HERE = frozenset({"live.figures"})

RULES: dict[str, frozenset[str]] = {
    "static_files.static_file": NOBODY_YET,
    "auth.sign_in_page": NOBODY_YET,
    "auth.sign_in": NOBODY_YET,
    "auth.lock": NOBODY_YET,  # a page that was idle too long asks for it, too
    "auth.sign_out": NOBODY_YET,
    "auth.present": ANY,
    "first.first_page": NOBODY_YET,
    "first.first": NOBODY_YET,
    "live.figures": TENDS,
    "live.worklist_page": LOOKS,
    "live.studies": LOOKS,
    "live.events": LOOKS,
    "live.version": LOOKS,
    "importing.take": LOOKS,
    "teaching.learn_page": LEARNS,
    "openapi.description": ANY,
    "loops.viewer": LOOKS,
    "loops.loop_state": LOOKS,
    "loops.frames": LOOKS,
    "loops.contours": LOOKS,
    "thumbnails.thumbnail": LOOKS,
    "review.post_review": REVIEWS,
    "viewing.post_view": REVIEWS,
    "viewing.certainty": LOOKS,
    "asking.ask_expert": REVIEWS,
    "asking.say_whose": REVIEWS,
    "drafting.get_draft": REVIEWS,
    "drafting.post_draft": REVIEWS,
    "dicomweb.find": LOOKS | {PROGRAM},
    "dicomweb.describe": LOOKS | {PROGRAM},
    "dicomweb.retrieve": LOOKS | {PROGRAM},
    "dicomweb.frames": LOOKS | {PROGRAM},
    "dicomweb.rendered": LOOKS | {PROGRAM},
    "dicomweb.bulk": LOOKS | {PROGRAM},
    "people.people_page": MANAGES,
    "people.add": MANAGES,
    "people.set_roles": MANAGES,
    "people.set_pin": MANAGES,
    "people.remove": MANAGES,
    "people.own_page": ANY,
    "people.set_own_pin": ANY,
    "releasing.listed": RELEASES | TENDS,
    "releasing.look": RELEASES,
    "releasing.decide": RELEASES,
    "board.box_page": ANY,
    "board.allow": TENDS,
    "board.remove": TENDS,
    "board.act_on_destination": TENDS,
    "board.model_back": TENDS,
    "board.retry_gpu": TENDS,
}


def complete(app: Flask) -> None:
    """Hold every route of the application against the table.

    Raises
    ------
    LookupError
        When a route says no role.
    """
    there = {rule.endpoint for rule in app.url_map.iter_rules()}
    if unruled := sorted(there - set(RULES)):
        raise LookupError(f"{', '.join(unruled)}: say in appliance/webui/access.py who may")


def may(roles: Collection[str], endpoint: str | None) -> bool:
    """Tell whether somebody with these roles (none before signing in) may open a route."""
    allowed = RULES.get(endpoint or "", frozenset())
    return "" in allowed or bool(allowed & set(roles))

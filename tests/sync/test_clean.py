"""Every kind of object that a review becomes, as dciodvfy judges it: from the outbox of one box."""

import pytest

from appliance.ledger import delivery
from appliance.sync.form import Form
from appliance.sync.results import Results
from tests.phantom import cine_loop
from tests.sync.material import errors_of, saved
from tests.sync.office import Office

KINDS = {
    "seg": "Segmentation",
    "sr": "ComprehensiveSR",
    "overlay": "MultiframeTrueColorSC",
    "rejection": "KeyObjectSelectionDocument",
}
# Label maps and deflated files, which it can't read, are judged in test_form.py.
FORMS = [
    Form(frames=frames, objects=each) for frames in ("all", "ed-es") for each in ("one", "each")
]


def office_of(root, form):
    """An office whose loop has pixels, for the overlay."""
    phantom = cine_loop(frames=8, rows=48, columns=64, elements={"PatientID": "P1"})
    office = Office(root, phantom.write(root / "source.dcm"))
    office.results = Results(office.ledger, office.spool, "Room 3", forms={"usb": form})
    office.wanted = [("usb", kind) for kind in ("seg", "sr", "overlay")]
    return office


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.key.replace(" ", "-"))
def test_segmentation_report_overlay_and_note_have_no_errors(tmp_path, form):
    office, judged = office_of(tmp_path, form), set()
    for decision in ("accepted", "corrected", "rejected"):
        office.decide(decision)
        while (leased := office.claim("usb")) is not None:
            for item in office.results.build(leased):
                assert errors_of(saved(item, tmp_path), KINDS[leased.kind]) == []
                judged.add((decision, leased.kind))
            delivery.sent(office.ledger, leased)
            delivery.unproven(office.ledger, leased, "")
    assert judged == {
        *((decision, kind) for decision in ("accepted", "corrected") for kind in KINDS),
        ("rejected", "rejection"),
    } - {("accepted", "rejection")}

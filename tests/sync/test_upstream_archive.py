"""Corrections in a real archive: found by model and date, one object a request, drawn by hash."""

from datetime import datetime, timezone

import pytest
import requests

from appliance.config import Settings
from appliance.config.settings import Upstream
from tests.orthanc import PASSWORD, USER
from tests.phantom import cine_loop
from tests.sync.servers import orthanc  # noqa: F401
from tests.sync.test_upstream import Site

YEAR = datetime.now(timezone.utc).year
OTHER_MODEL = "cd" * 32


@pytest.fixture(scope="module")
def sent(orthanc, tmp_path_factory):  # noqa: F811
    """Two studies of one loop: its correction, and an accepted one."""
    folder = tmp_path_factory.mktemp("sent")
    site = Site(folder / "box")
    loop = cine_loop(frames=8, PatientID="P1")
    corrected = site.objects(site.correct(loop.write(folder / "a.dcm"), loop.labels))
    loop = cine_loop(frames=8, PatientID="P1", seed=2)
    accepted = site.objects(site.accept(loop.write(folder / "b.dcm"), loop.labels))
    for item in (*corrected, *accepted):
        orthanc.client().store_file(b"".join(bytes(part) for part in item.parts))
    return corrected, accepted


def found(server, query):
    answer = requests.get(f"{server.url}/studies?{query}", auth=(USER, PASSWORD), timeout=30)
    return sorted(row["0020000D"]["Value"][0] for row in answer.json()) if answer.content else []


def test_a_query_finds_them_by_model_and_date(orthanc, sent):  # noqa: F811
    corrected, accepted = (items[0].StudyInstanceUID for items in sent)
    both = sorted([corrected, accepted])
    model = "StudyID=abababababababab"
    assert found(orthanc, model) == both
    assert found(orthanc, f"{model}&StudyDate={YEAR}0101-{YEAR}1231") == both
    assert found(orthanc, f"{model}&StudyDate={YEAR - 1}0101-{YEAR - 1}1231") == []
    assert found(orthanc, "StudyID=cdcdcdcdcdcdcdcd") == []


def test_a_client_library_finds_a_model_s_version_in_the_description(orthanc, sent):  # noqa: F811
    rows = orthanc.client().search_for_studies(
        search_filters={"StudyID": "ab" * 8}, fields=["StudyDescription"]
    )
    told = {row["0020000D"]["Value"][0]: row["00081030"]["Value"][0] for row in rows}
    assert told[sent[0][0].StudyInstanceUID].startswith("Echocart correction of ")
    assert told[sent[1][0].StudyInstanceUID].startswith("Echocart accepted ")


def test_a_share_of_accepted_loops_is_drawn_by_their_uid_alone():
    def drawn(share):
        settings = Settings.model_validate(
            {
                "box": {"ae_title": "A"},
                "upstream": {"accepted_share": share},
                "destination": [
                    {"name": "c", "kind": "folder", "path": "/x", "gets": ["corrections"]}
                ],
            }
        )
        uids = [f"1.2.3.{number}" for number in range(2000)]
        return {uid for uid in uids if settings.wanted("accepted", uid)}

    assert drawn(0) == set()
    assert len(drawn(1)) == 2000
    assert 120 < len(drawn(0.1)) < 280
    assert drawn(0.1) == drawn(0.1) < drawn(0.3)


def test_corrections_always_go_and_rejections_never():
    for share in (0.0, 1.0):
        upstream = Upstream(accepted_share=share)
        assert upstream.takes("corrected", "1.2.3")
        assert not upstream.takes("rejected", "1.2.3")

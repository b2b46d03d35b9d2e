"""Names for the outside: the same for the same key, nothing without it."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom.sr.codedict import codes as standard
from pydicom.uid import UID

from appliance.config import Settings
from appliance.errors import DeliveryError
from appliance.sync import deidentify
from appliance.sync.deidentify import IdentityMap, identity_map, machine

UID_A, UID_B = "1.2.840.113619.2.1.7", "1.2.840.113619.2.1.8"
ONE, OTHER = IdentityMap(b"\1" * 32), IdentityMap(b"\2" * 32)


def settings(folder, **upstream):
    return Settings.model_validate(
        {"box": {"ae_title": "ECHOCART", "state_dir": str(folder)}, "upstream": upstream}
    )


def test_a_uid_has_one_legal_name_under_a_key_and_another_under_another():
    assert ONE.uid(UID_A) == ONE.uid(UID_A)
    assert len({ONE.uid(UID_A), ONE.uid(UID_B), ONE.uid(UID_A, "loop"), OTHER.uid(UID_A)}) == 4
    for uid in (ONE.uid(UID_A), OTHER.uid("")):
        assert UID(uid).is_valid
        assert uid.startswith("2.25.")


def test_a_patient_has_one_short_name_under_a_key():
    name = ONE.patient("12345", UID_A)
    assert name == ONE.patient("12345", UID_B)
    assert name not in (ONE.patient("12346", UID_A), OTHER.patient("12345", UID_A))
    assert len(name) == 24
    assert set(name) <= set("0123456789ABCDEF")


def test_patients_without_an_id_are_told_apart_by_their_study():
    assert ONE.patient("", UID_A) != ONE.patient("", UID_B)
    assert ONE.patient("", UID_A) != ONE.patient(UID_A, "")


def test_the_key_is_made_once_for_its_owner_alone(tmp_path):
    first = identity_map(settings(tmp_path)).uid(UID_A)
    key = tmp_path / "upstream.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32
    assert identity_map(settings(tmp_path)).uid(UID_A) == first
    assert [path.name for path in tmp_path.iterdir()] == ["upstream.key"]


def test_whoever_comes_at_once_gets_the_same_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        maps = list(pool.map(lambda _: identity_map(settings(tmp_path)), range(16)))
    assert len({one.uid(UID_A) for one in maps}) == 1


def test_two_boxes_give_the_same_patient_two_names(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    names = {identity_map(settings(tmp_path / name)).patient("1", UID_A) for name in ("a", "b")}
    assert len(names) == 2


def test_a_key_file_of_the_site_is_used_and_never_made(tmp_path):
    key = tmp_path / "site.key"
    with pytest.raises(DeliveryError, match="key"):
        identity_map(settings(tmp_path, key_file=str(key)))
    assert not key.exists()
    key.write_bytes(b"\1" * 32)
    key.chmod(0o600)
    assert identity_map(settings(tmp_path, key_file=str(key))).uid(UID_A) == ONE.uid(UID_A)
    assert not (tmp_path / "upstream.key").exists()


@pytest.mark.parametrize(
    ("content", "mode"), [(b"\1" * 31, 0o600), (b"", 0o600), (b"\1" * 32, 0o644)]
)
def test_a_key_that_is_cut_or_open_to_everybody_is_refused(tmp_path, content, mode):
    key = tmp_path / "upstream.key"
    key.write_bytes(content)
    key.chmod(mode)
    with pytest.raises(DeliveryError, match="key"):
        identity_map(settings(tmp_path))
    assert key.read_bytes() == content


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (("SonoSite, Inc.", "M-Turbo"), ("SonoSite", "M-Turbo")),
        (("GE Vingmed Ultrasound", "Vivid E95"), ("GE", "Vivid E95")),
        (("GE Healthcare", "Vivid S70N of Dr. Doe"), ("GE", "Vivid S70N")),
        (("Philips Medical Systems", "EPIQ 7C"), ("Philips", "EPIQ 7C")),
        (("Philips Medical Systems", "iE33"), ("Philips", "iE33")),
        (("Hewlett-Packard", "SONOS 5500"), ("Hewlett-Packard", "SONOS 5500")),
        (("TOSHIBA_MEC_US", "DOE^JANE"), ("Canon", "")),
        (("St. Mary's Hospital", "Vivid E95"), ("Other", "")),
        (("", ""), ("Other", "")),
    ],
)
def test_a_machine_is_told_in_the_words_of_the_table_only(written, told):
    assert machine(*written) == told


def test_the_codes_are_those_of_the_standard():
    theirs = [
        standard.DCM.BasicApplicationConfidentialityProfile,
        standard.DCM.CleanPixelDataOption,
    ]
    for ours, code in zip((deidentify.PROFILE, deidentify.CLEAN_PIXELS), theirs, strict=True):
        assert ours == (code.value, code.scheme_designator, code.meaning)

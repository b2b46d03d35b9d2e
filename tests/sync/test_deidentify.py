"""Names for the outside: the same for the same key, nothing without it."""

import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest
from pydicom.sr.codedict import codes as standard
from pydicom.uid import UID

from appliance.config import Settings
from appliance.errors import DeliveryError
from appliance.sync import deidentify
from appliance.sync.deidentify import (
    IdentityMap,
    identity_map,
    machine,
    serial_number,
    shifted,
    versions,
)

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
    key = tmp_path / "secret" / "upstream.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert len(key.read_bytes()) == 32
    assert identity_map(settings(tmp_path)).uid(UID_A) == first
    assert sorted(path.name for path in key.parent.iterdir()) == ["CACHEDIR.TAG", "upstream.key"]


def test_a_key_from_before_there_was_a_folder_for_it_goes_on_being_used(tmp_path):
    key = tmp_path / "upstream.key"
    key.write_bytes(b"\1" * 32)
    key.chmod(0o600)
    assert identity_map(settings(tmp_path)).uid(UID_A) == ONE.uid(UID_A)
    assert not (tmp_path / "secret").exists()


def test_a_plain_back_up_of_the_state_directory_leaves_the_key_out(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "spool.bin").write_bytes(b"kept")
    identity_map(settings(state))
    key = (state / "secret" / "upstream.key").read_bytes()
    for options, holds in ((["--exclude-caches-all"], False), ([], True)):
        archive = tmp_path / f"{holds}.tar"
        subprocess.run(["tar", *options, "-cf", archive, "-C", tmp_path, "state"], check=True)
        assert (key in archive.read_bytes()) is holds
        assert b"kept" in archive.read_bytes()


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
    assert not (tmp_path / "secret").exists()


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


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("203.66.0", ["203.66.0"]),
        ("EchoPAC Version 204\\V 2.1.140 DOE^JANE", ["2.1.140"]),
        ("02.04.61", []),
        ("DOE^JANE 2.4.1961", []),
        ("1.2.3.4.5.6.7", []),
        ("", []),
    ],
)
def test_of_software_only_version_numbers_are_told(written, told):
    assert versions(written) == told


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("012345VS", "012345VS"),
        (" US-97-12345 ", "US-97-12345"),
        ("DOE^JANE", ""),
        ("DOEJANE1961", ""),
        ("Room 3", ""),
        ("A1", ""),
    ],
)
def test_a_serial_number_is_told_when_it_looks_like_one(written, told):
    assert serial_number(written) == told


def test_all_dates_of_a_patient_are_moved_by_the_same_days_into_the_past():
    by = ONE.shift("12345", UID_A)
    assert by == ONE.shift("12345", UID_B)
    assert timedelta(days=-365) <= by <= timedelta(days=-1)
    assert len({ONE.shift(str(number), UID_A) for number in range(200)}) > 100
    assert ONE.shift("12345", UID_A) != OTHER.shift("12345", UID_A)
    early, late = (shifted(date, by) for date in ("20240227", "20240302"))
    assert (date.fromisoformat(late) - date.fromisoformat(early)).days == 4
    assert shifted("", by) == shifted("KANARIE", by) == shifted("20250230", by) == ""


def test_the_codes_are_those_of_the_standard():
    theirs = [
        standard.DCM.BasicApplicationConfidentialityProfile,
        standard.DCM.CleanPixelDataOption,
        standard.DCM.RetainLongitudinalTemporalInformationModifiedDatesOption,
        standard.DCM.RetainDeviceIdentityOption,
    ]
    stated = deidentify.statement(deidentify.Options(True, True))
    told = [
        (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
        for item in stated.DeidentificationMethodCodeSequence
    ]
    assert len(told) == len(theirs)
    for ours, code in zip(told, theirs, strict=True):
        assert ours == (code.value, code.scheme_designator, code.meaning)

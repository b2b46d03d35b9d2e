"""Every real file, one by one: measured, or kept for the right reason. Others will be tried."""

import pytest

STILL = "A still image: masks are drawn on cine loops only."
TWO_FRAMES = "Only 2 frames: too short to hold a heartbeat."
COLOUR = "Colour Doppler: masks are drawn on grey (B-mode) loops only."
NOT_APICAL = "No apical four- or two-chamber view could be recognised in this loop."
MEASURED = ""
EXPECTED = {
    "dcm4che/US-PAL-8-10x-echo.dcm": COLOUR,
    "orthanc-tests/1.2.840.10008.1.2.4.50.dcm": STILL,
    "orthanc-tests/Implicit-vr-us-palette.dcm": STILL,
    "orthanc-tests/Issue16.dcm": NOT_APICAL,
    "pydicom-data/JPGLosslessP14SV1_1s_1f_8b.dcm": STILL,
    "pydicom-data/OBXXXX1A.dcm": STILL,
    "pydicom-data/OBXXXX1A_2frame.dcm": TWO_FRAMES,
    "pydicom-data/OBXXXX1A_rle.dcm": STILL,
    "pydicom-data/OBXXXX1A_rle_2frame.dcm": TWO_FRAMES,
    "pydicom-data/US1_J2KI.dcm": STILL,
    "pydicom-data/US1_J2KR.dcm": STILL,
    "pydicom-data/US1_UNCR.dcm": STILL,
    "pydicom-data/color-pl.dcm": STILL,
    "pydicom-data/color-px.dcm": STILL,
    "pydicom-data/color3d_jpeg_baseline.dcm": MEASURED,
    "pydicom-data/gdcm-US-ALOKA-16.dcm": STILL,
    "pydicom/ExplVR_BigEnd.dcm": STILL,
    "pydicom/examples_jpeg2k.dcm": STILL,
    "pydicom/examples_palette.dcm": STILL,
    "pydicom/examples_rgb_color.dcm": STILL,
    "pydicom/examples_ybr_color.dcm": MEASURED,
    "weasis-dicom-tools/ybr422-raw.dcm": STILL,
    "weasis-dicom-tools/ybrFull-RLE.dcm": STILL,
}


def test_no_real_file_is_without_an_expectation(shared_data):
    here = {str(path.relative_to(shared_data)) for path in shared_data.rglob("*.dcm")}
    assert here == set(EXPECTED)


@pytest.mark.parametrize(("name", "reason"), EXPECTED.items())
def test_a_real_file_is_measured_or_kept_for_the_right_reason(bench, shared_data, name, reason):
    found = bench.analyse(shared_data / name)
    assert (found["state"], found["reason"]) == ("kept" if reason else "analysed", reason)
    assert (found["analysis"] is None) == bool(reason)

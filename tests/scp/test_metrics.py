"""Figures of reception: right, whole at every moment, and about nobody."""

import re
from pathlib import Path

from pydicom import dcmread

from appliance import metrics
from appliance.scu import send
from tests.box import Box
from tests.scp.objects import data_set_bytes, write_object
from tests.scp.peer import EXPLICIT, Peer

CANARY = "CANARYCART"


def value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} ([\d.e+-]+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def figures(box: Box) -> str:
    return metrics.read(box.settings.box.state_dir).decode()


def test_every_object_is_counted_and_no_one_is_named(tmp_path: Path, receive_path: str) -> None:
    path = write_object(tmp_path / "a.dcm", SOPInstanceUID="1.2.3.777")
    other = write_object(tmp_path / "b.dcm", SOPInstanceUID="1.2.3.777")
    with Box(tmp_path / "box", ["scp"], scp=receive_path) as box:
        for one in (path, path, other):
            send([one], "127.0.0.1", box.dicom_port, calling_ae=CANARY)
        SOPClassUID = str(dcmread(path).SOPClassUID)
        with Peer(box.dicom_port) as peer:
            peer.associate([(SOPClassUID, [EXPLICIT])])
            for data, uid in ((data_set_bytes(path), "1.2.3.778"), (b"GIF89a" * 99, "1.2.3.779")):
                peer.command(SOPClassUID, uid)
                peer.data(data)
                peer.status()
        wanted = {"kept": 1, "duplicate": 1, "differs": 1, "mismatch": 1, "not_dicom": 1}

        def counted() -> bool:
            text = figures(box)
            return all(
                value(text, f'echocart_objects_total{{outcome="{name}"}}') == count
                for name, count in wanted.items()
            )

        box.wait_for(counted, "the figures to be written")
        text = figures(box)
        rows = box.ledger.read("SELECT size FROM instance")
        sizes = [row["size"] for row in rows]
        assert value(text, "echocart_received_bytes_total") == sum(sizes) + sizes[0]
        assert value(text, 'echocart_reception_seconds_count{stage="record"}') == 3
        assert value(text, 'echocart_associations_total{outcome="accepted"}') == 4
        assert value(text, "echocart_free_bytes") > 0
        for canary in (CANARY, "CANARY", "1.2.3.777", "1.2.3.778", "127.0.0.1", "ECHOCART"):
            assert canary not in text


def test_the_page_serves_the_figures_of_all_services(tmp_path: Path) -> None:
    import urllib.request

    with Box(tmp_path / "box", ["webui"]) as box:
        folder = box.settings.box.state_dir / "metrics"
        folder.mkdir(exist_ok=True)
        (folder / "scp.prom").write_text("a_total 1.0\n")
        (folder / "sync.prom").write_text("b_total 2.0\n")
        (folder / "half.prom.123").write_text("c_total 3.0\n")
        with urllib.request.urlopen(f"{box.url}/metrics", timeout=20) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            lines = answer.read().decode().splitlines()
            assert {"a_total 1.0", "b_total 2.0"} <= set(lines)
            assert "c_total 3.0" not in lines  # half written

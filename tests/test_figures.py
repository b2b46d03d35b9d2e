"""Figures of the box's state: right, about nobody, and there for every alert that names one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance import metrics
from appliance.config import load
from appliance.figures import Figures
from appliance.ledger import destination
from appliance.scp.metrics import Metrics
from tests.box import REPOSITORY
from tests.upkeep.material import Kept

RULES = REPOSITORY / "docs" / "alerts.yml"


@pytest.fixture
def box(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "box")


def value(text: str, name: str) -> float:
    (found,) = re.findall(rf"^{re.escape(name)} ([\d.e+-]+)$", text, re.MULTILINE)
    return float(found)


def figures(box: Kept) -> str:
    return Figures(box.settings, box.ledger).text().decode()


def test_what_waits_is_counted_and_its_age_told(box):
    box.reviewed(1)
    box.receive(2)
    box.ledger.db.conn.execute("UPDATE outbox SET queued_at = '2020-01-01T00:00:00.000Z'")
    destination.pause(box.ledger, "usb", "AK")
    text = figures(box)
    assert value(text, 'echocart_deliveries_waiting{destination="usb"}') == 2
    assert value(text, 'echocart_deliveries_oldest_seconds{destination="usb"}') > 1e8
    assert value(text, 'echocart_destination_paused{destination="usb"}') == 1
    assert value(text, 'echocart_instances{state="analysed"}') == 1
    assert value(text, "echocart_loops_waiting") == 1
    assert value(text, 'echocart_service_up{service="scp"}') == 0


def test_loops_slower_than_they_play_are_a_share_of_the_newest(box):
    for n, total in ((1, 100.0), (2, 2000.0)):
        box.analysed(n)
        box.ledger.db.conn.executescript(
            "DROP TRIGGER IF EXISTS analysis_is_never_changed;"
            "UPDATE analysis SET timing = '{\"rate_hz\": 50}', timings ="
            f' \'{{"frames": 10, "total_ms": {total}}}\' WHERE id = {n}'
        )
    text = figures(box)
    assert value(text, 'echocart_loops_missed_ratio{of="engine"}') == 0.5
    assert value(text, 'echocart_frame_seconds{of="engine"}') == pytest.approx(0.105)


def test_a_certificate_that_can_t_be_read_counts_as_expired(box, tmp_path):
    with box.config.open("a") as file:
        file.write(f'[webui]\ntls_certificate = "{tmp_path}/a.pem"\ntls_key = "{tmp_path}/k.pem"\n')
    name = 'echocart_certificate_expires_timestamp_seconds{of="webui"}'
    text = Figures(load(box.config), box.ledger).text().decode()
    assert value(text, name) == 0


def test_no_patient_object_machine_or_person_is_named(box):
    box.reviewed(1)
    text = figures(box)
    for secret in ("CANARY", "VIVID", "10.0.0.1", "1.2.", "AK", str(box.state)):
        assert secret not in text, secret


def test_every_figure_that_an_alert_names_exists(box, tmp_path):
    metrics.write(Metrics().registry, tmp_path, "scp")
    text = metrics.read(tmp_path).decode() + figures(box)
    known = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    known |= {f"{name}_total" for name in known}
    rules = re.findall(r"^ +expr: (.+)$", RULES.read_text(), re.MULTILINE)
    assert len(rules) == RULES.read_text().count("- alert:")
    for rule in rules:
        assert set(re.findall(r"echocart_\w+", rule)) <= known, rule


def test_prometheus_takes_the_rules():
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed: apt install prometheus")
    done = subprocess.run([tool, "check", "rules", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

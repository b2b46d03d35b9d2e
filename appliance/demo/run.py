"""`echocart demo`: the whole way on a real loop, as a cart, a sonographer and a USB stick would see it."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from rich.console import Console
from rich.table import Table

from appliance import pins, scu
from appliance.config import Settings, load
from appliance.demo.pageclient import PageClient
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, user, worklist
from appliance.part10 import read_header
from appliance.spool import Spool
from appliance.supervisor import SERVICES, Supervisor

SAMPLE = "color3d_jpeg_baseline.dcm"
START_S = 120.0  # importing everything on a cold, slow disk
ANALYSIS_S = 300.0
DELIVERY_S = 60.0
_DICOM_PORT, _HTTP_PORT = 11112, 8080
_USER = "DEMO"

Result = TypeVar("Result")


class Demo:
    """One run: its own directory, its own box, one loop.

    Parameters
    ----------
    directory
        Each run gets a directory below it, named by the time.
    loop
        The cine loop to send; None takes the sample of PyPI's pydicom-data.
    with_orthanc
        Also start two real Orthancs: the hospital's PACS and the central archive.

    Raises
    ------
    ApplianceError
        From `run`, when a station fails: one line that says which and what to do.
    """

    def __init__(
        self, directory: Path, loop: Path | None = None, *, with_orthanc: bool = False
    ) -> None:
        self.loop = loop or sample_loop()
        self.root = directory / datetime.now().strftime("%Y%m%d-%H%M%S")
        self.console = Console(highlight=False)
        self.stations: list[tuple[str, float, str]] = []
        self.with_orthanc = with_orthanc
        self.pin = ""

    def run(self, *, once: bool) -> None:
        """Start the box, send the loop, show what comes of it; with `once`, review it and end."""
        with _ended_by_signals():
            try:
                with ExitStack() as servers:
                    self._run(self._prepare(servers, once), once)
            except SystemExit:
                self._say("stopped cleanly")
                raise
        self._say("stopped cleanly")

    def _run(self, settings: Settings, once: bool) -> None:
        (self.root / "logs").mkdir()
        config = self.root / "echocart.toml"
        self.pin = _demo_user(Ledger(settings.box.state_dir))
        supervisor = Supervisor(config, logs=self.root / "logs", on_restart=self._say)
        try:
            supervisor.start()
            self._wait(lambda: _serving(supervisor), START_S, supervisor, "the services to start")
            self._say(f"four services are running; their logs are in {self.root / 'logs'}")
            self._follow(settings, supervisor, once)
        except KeyboardInterrupt:
            if once:
                raise
            self._say("stopping")
        finally:
            supervisor.stop()

    def _prepare(self, servers: ExitStack, once: bool) -> Settings:
        try:
            (self.root / "usb").mkdir(parents=True)
        except OSError as error:
            hint = "Name a directory that can be written with --dir."
            raise ApplianceError("run the demo", f"{self.root}: {error.strerror}", hint) from error
        root = self.root.resolve()
        text = (
            f'[box]\nae_title = "ECHOCART"\nstate_dir = "{root / "state"}"\n\n'
            f'[scp]\nhost = "127.0.0.1"\nport = {_free_port(_DICOM_PORT)}\n\n'
            f"[webui]\nport = {_free_port(_HTTP_PORT)}\n\n"
            f'[[destination]]\nname = "usb"\nkind = "folder"\npath = "{root / "usb"}"\n'
        )
        # A person gets a moment to undo; a program doesn't need one.
        text += f"\n[sync]\nstudy_closes_after_s = {0 if once else 10}\n"
        (self.root / "echocart.toml").write_text(text + self._servers(servers))
        return load(self.root / "echocart.toml")

    def _servers(self, servers: ExitStack) -> str:
        """Start PACS and archive, and return their part of the configuration."""
        if not self.with_orthanc:
            return ""
        from appliance.demo.orthanc import Orthanc

        root = self.root.resolve()
        pacs = servers.enter_context(Orthanc(root / "pacs"))
        archive = servers.enter_context(Orthanc(root / "archive"))
        self._say(f"PACS and archive are running: {pacs.url} and {archive.url}")
        return (
            "\n"
            + pacs.toml("pacs", "dicom", "originals results")
            + ("\n" + archive.toml("archive", "dicomweb", "corrections"))
        )

    def _follow(self, settings: Settings, supervisor: Supervisor, once: bool) -> None:
        ledger = Ledger(settings.box.state_dir)
        begun = time.monotonic()
        self._send(settings)
        loop = self._analysed(ledger, supervisor)
        self._show(settings, loop, begun)
        url = settings.webui.url
        if not once:
            self._say(f"review page: {url}/loop/{loop['seq']}   user {_USER}, PIN {self.pin}")
            self._say("(Ctrl-C stops the box)")
            while True:
                supervisor.check()
                time.sleep(0.2)
        self._review(settings, ledger, PageClient(url), loop)
        self._delivered(ledger, supervisor, loop["seq"])
        sheet = self.root / "contact-sheet.png"
        from appliance.demo.contact_sheet import write

        write(ledger, Spool(settings.box.state_dir), loop["seq"], sheet)
        self._say(f"contact sheet: {sheet}")
        self.console.print(self._table())

    def _send(self, settings: Settings) -> None:
        begun = time.monotonic()
        (sent,) = scu.send([self.loop], "127.0.0.1", settings.scp.port, "DEMO-CART", "ECHOCART")
        if not sent.ok:
            hint = f"See {self.root / 'logs' / 'scp.log'}."
            raise ApplianceError("send the loop", sent.text, hint)
        size = self.loop.stat().st_size / 1e6
        self._station("sent and durable", begun, f"{self.loop.name}, {size:.1f} MB, status 0x0000")

    def _analysed(self, ledger: Ledger, supervisor: Supervisor) -> dict[str, Any]:
        with self.console.status("drawing the heart") as spinner:

            def settled() -> dict[str, Any] | None:
                loop = worklist.loops(ledger, 1)[0]
                done = _frames_done(ledger, loop["seq"])
                spinner.update(f"drawing the heart: {done} of {loop['number_of_frames']} frames")
                return loop if loop["state"] in ("analysed", "kept", "quarantined") else None

            loop = self._wait(settled, ANALYSIS_S, supervisor, "the masks")
        if loop["state"] != "analysed":
            hint = "Send an apical four-chamber B-mode loop with --loop FILE."
            raise ApplianceError("draw the heart", f"{loop['state']}: {loop['reason']}", hint)
        return loop

    def _show(self, settings: Settings, loop: dict[str, Any], begun: float) -> None:
        analysis = loop["analysis"]
        measures = analysis["measures"]
        span = _seconds(loop["received_at"], analysis["sealed_at"])
        lasts = _duration_s(analysis["timing"])
        text = f"{analysis['frames']} frames, {analysis['engine']} {analysis['precision']}"
        self.stations.append(("last byte → all masks and EF", span, text))
        self._say(f"all {analysis['frames']} masks {span:.2f} s after the last byte")
        self._say(f"(the loop itself lasts {lasts:.1f} s)")
        self._say(_sentence(measures))

    def _review(
        self, settings: Settings, ledger: Ledger, page: PageClient, loop: dict[str, Any]
    ) -> None:
        begun = time.monotonic()
        page.sign_in(_USER, self.pin)
        if self.with_orthanc:  # only a correction goes to the archive
            frame, polygon = _widened(ledger, Spool(settings.box.state_dir), loop)
            review = page.correct(loop["seq"], {frame: {1: polygon}})
        else:
            review = page.accept(loop["seq"])
        done = f"{review['decision']} through the page"
        self._station(done, begun, f"review {review['id']} by {_USER}")

    def _delivered(self, ledger: Ledger, supervisor: Supervisor, seq: int) -> None:
        begun = time.monotonic()

        def proven() -> list[dict[str, Any]] | None:
            rows = worklist.deliveries(ledger, seq)
            return rows if rows and all(row["state"] == "proven" for row in rows) else None

        rows = self._wait(proven, DELIVERY_S, supervisor, "the results at their destinations")
        uid = rows[-1]["result_sop_instance_uid"]
        (path,) = (self.root / "usb").rglob(f"{uid}.dcm")
        frames = int(read_header(path).dataset.NumberOfFrames)
        self._station("SEG delivered and read back", begun, f"{path}, {frames} frames")
        for name in dict.fromkeys(row["destination"] for row in rows):
            kinds = ", ".join(row["kind"] for row in rows if row["destination"] == name)
            self._say(f"proven at {name}: {kinds}")

    def _station(self, name: str, begun: float, text: str) -> None:
        span = time.monotonic() - begun
        self.stations.append((name, span, text))
        self._say(f"{name}: {span:.2f} s   {text}")

    def _table(self) -> Table:
        table = Table("station", "seconds", "what", title="the way of one loop")
        for name, seconds, text in self.stations:
            table.add_row(name, f"{seconds:.2f}", text)
        return table

    def _wait(
        self,
        condition: Callable[[], Result | None],
        timeout: float,
        supervisor: Supervisor,
        what: str,
    ) -> Result:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            supervisor.check()
            if (value := condition()) is not None:
                return value
            time.sleep(0.02)
        raise ApplianceError(
            "run the demo",
            f"waited {timeout:.0f} s for {what}",
            f"See the logs in {self.root / 'logs'}.",
        )

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack, so that everything that was started is stopped."""
    signals = (signal.SIGTERM, signal.SIGHUP)

    def end(number: int, _: object) -> NoReturn:
        for other in signals:
            signal.signal(other, signal.SIG_IGN)  # the end is under way
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def sample_loop() -> Path:
    """Return the 120-frame apical four-chamber loop of PyPI's pydicom-data.

    Raises
    ------
    ApplianceError
        When pydicom-data is not installed.
    """
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        hint = "pip install 'echocart[demo]', or name a loop of yours with --loop FILE."
        raise ApplianceError("run the demo", "the sample loop is not installed", hint)
    return Path(spec.submodule_search_locations[0]) / "data" / SAMPLE


def _demo_user(ledger: Ledger) -> str:
    """Make the user who reviews, and return the PIN: each run has its own box and its own PIN."""
    pin = pins.random()
    user.add(ledger, _USER, ["sonographer", user.ADMIN], pins.hashed(pin), "demo")
    return pin


def _widened(ledger: Ledger, spool: Spool, loop: dict[str, Any]) -> tuple[int, list[list[float]]]:
    """The left ventricle at end diastole a little wider, as a hand would draw it."""
    from appliance import labels, masks

    frame = loop["analysis"]["measures"]["ed_frame"] or 0
    maps = labels.of_analysis(ledger, spool, loop["analysis"]["id"])
    points = masks.contours(maps.frame(frame))[1]
    centre = points.mean(axis=0)
    return frame, (centre + (points - centre) * (1.06, 1.0)).tolist()


def _serving(supervisor: Supervisor) -> bool | None:
    logs = [supervisor.log_path(name) for name in SERVICES]
    return all(log and " ready: " in log.read_text(errors="replace") for log in logs) or None


def _frames_done(ledger: Ledger, seq: int) -> int:
    analysis = worklist.latest_analysis(ledger, seq)
    chunks = worklist.chunks(ledger, analysis["id"]) if analysis else []
    return sum(chunk["frame_count"] for chunk in chunks)


def _sentence(measures: dict[str, Any]) -> str:
    parts = [f"EF {measures['ef_percent']:.0f} %"] if measures["ef_percent"] is not None else []
    for name, title in (("edv_ml", "EDV"), ("esv_ml", "ESV")):
        if measures[name] is not None:
            parts.append(f"{title} {measures[name]:.0f} ml")
    parts += [f"no {name}: {reason}" for name, reason in measures["withheld"].items()]
    return " · ".join(parts) + "   (research use only)"


def _duration_s(timing: dict[str, Any]) -> float:
    return len(timing["frame_times_ms"]) / float(timing["rate_hz"])


def _seconds(start: str, end: str) -> float:
    first, last = (datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (start, end))
    return (last.astimezone(timezone.utc) - first.astimezone(timezone.utc)).total_seconds()


def _free_port(wanted: int) -> int:
    """Return the usual port, or any free one when something has it already."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # taken: the next one
            chosen: int = probe.getsockname()[1]
            return chosen
    raise ApplianceError("run the demo", "no port is free", "Stop something that listens.")

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from appliance.config import Engine
from appliance.engine import choice
from appliance.engine.backend import Backend, open_backend
from appliance.engine.models import Models
from appliance.engine.worker import Worker
from appliance.ledger import Ledger, reception, worklist
from appliance.manifest import Manifest, current_model
from appliance.part10 import identity, read_header
from appliance.service import Stop
from appliance.spool import Spool


@pytest.fixture(scope="session")
def model() -> Manifest:
    return current_model()


@pytest.fixture(scope="session")
def backend(model: Manifest) -> Backend:
    """The network as this machine runs it by default."""
    return open_backend(model)


_compiled: dict[tuple[str, str], Backend] = {}


@pytest.fixture
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of the same bytes are compiled once for all tests, for that takes a second."""

    def opened(manifest: Manifest, engine: Engine | None = None) -> Backend:
        # Whatever decides how it is compiled and checked; not its name, nor its views.
        about = {"variants": True, "input": True, "outputs": True, "structures": True}
        gates = {"gates": {"precision_loss"}}
        key = (
            (engine or Engine()).model_dump_json(),
            manifest.model_dump_json(include={**about, **gates}),
        )
        if key not in _compiled:
            _compiled[key] = open_backend(manifest, engine)
        return _compiled[key]

    monkeypatch.setattr(choice, "open_backend", opened)


class Bench:
    """A ledger and a spool with loops in them, and a worker in this process.

    Without a model it can only receive.
    """

    def __init__(
        self, root: Path, model: Manifest | None = None, backend: Backend | None = None
    ) -> None:
        self.ledger, self.spool, self.stop = Ledger(root), Spool(root), Stop()
        self.model = model
        if backend:
            self.worker = self.new_worker(backend)

    def new_worker(self, backend: Backend) -> Worker:
        return Worker(self.ledger, self.spool, Models.only(self.model, backend), self.stop)

    def worker_of(self, models: Models) -> Worker:
        return Worker(self.ledger, self.spool, models, self.stop)

    def receive(self, path: Path) -> int:
        """Put a file into the spool and the ledger as the receiver does."""
        incoming = Path(shutil.copy(path, self.spool.incoming / "object"))
        adopted = self.spool.adopt(incoming)
        incoming.unlink()  # a second name of the kept file: the next object must not go into it
        header = read_header(path)
        known = {field.name for field in fields(reception.Received)}
        said = {k: v for k, v in asdict(identity(header.dataset)).items() if k in known}
        received = reception.Received(
            **said,
            TransferSyntaxUID=str(header.TransferSyntaxUID),
            sha256=adopted.sha256,
            size=adopted.size,
            calling_ae_title="TEST",
            peer="127.0.0.1",
        )
        return reception.record(self.ledger, received).seq

    def loop(self, seq: int) -> dict[str, Any]:
        found = worklist.loop(self.ledger, seq)
        assert found is not None
        return found

    def analyse(self, path: Path) -> dict[str, Any]:
        """Receive a file, let the worker have it, and return the loop as the page sees it."""
        seq = self.receive(path)
        assert self.worker.work_once()
        return self.loop(seq)


@pytest.fixture
def bench(tmp_path: Path, model: Manifest, backend: Backend) -> Iterator[Bench]:
    made = Bench(tmp_path / "state", model, backend)
    yield made
    made.ledger.close()


@pytest.fixture
def new_bench(tmp_path: Path, model: Manifest) -> Callable[[Backend], Bench]:
    return lambda backend: Bench(tmp_path / "state", model, backend)

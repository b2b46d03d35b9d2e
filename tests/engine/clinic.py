"""A box with a model in force, an engine of this process, and released models beside it; all tiny."""

import hashlib
import time

import numpy as np

from appliance.engine.choice import Choice
from appliance.engine.shadow import Shadow
from appliance.ledger import release, setting, shadow
from appliance.releases import bundle, model_store
from appliance.releases.shadowing import Thresholds
from models import publish
from tests.box import LOADED_MACHINE_S, Box
from tests.engine import tiny_onnx
from tests.engine.conftest import Bench
from tests.phantom import small_loop

ENGINE = '[engine]\nbackend = "onnxruntime"\nprecision = "f32"\nthreads = 1\n'
IN_FORCE = "bright-1.0.0"
FEW = Thresholds(loops=2, corrections=0, frame_time=1000)


def glaring(seed=0, gain=2.5):
    """A loop on which harmful networks do their harm."""
    loop = small_loop(seed=seed)
    loop.dataset.PixelData = np.clip(loop.grey * gain, 0, 255).astype(np.uint8).tobytes()
    return loop


class Clinic:
    """A box with a model in force, an engine of this process, and a candidate beside it."""

    def __init__(self, root, extra=""):
        self.root = root
        self.box = Box(root / "box", services=(), extra=ENGINE + extra)
        self.state = self.box.settings.box.state_dir
        self.ledger = self.box.ledger
        model_store.add(self.state, tiny_onnx.write(root / "first"))
        setting.choose_models(self.ledger, [IN_FORCE], "anna")
        self.bench = Bench(self.state)
        self.shadow = Shadow(self.ledger, self.box.settings)
        self.loops = 0

    def start(self):
        """Load the model in force into this process."""
        self.choice = Choice(self.ledger, self.box.settings)
        self.worker = self.bench.worker_of(self.choice.first())

    def fetched(self, version="1.1.0", thresholds=FEW, floor="", **about):
        """Put a release where a fetch leaves it; returns its name."""
        folder = tiny_onnx.write(self.root / version, version=version, **about)
        return arrived(self.box, folder, self.root / f"{version}.tar", thresholds, floor)

    def staged(self, version="1.1.0", **about):
        name = self.fetched(version, **about)
        release.step(self.ledger, name, self.sha256(name), "staged", "{}")
        return name

    def sha256(self, name):
        return release.newest(self.ledger)[name]["sha256"]

    def send(self, loop=None):
        """Receive one loop more; returns its number."""
        self.loops += 1
        made = loop or glaring(self.loops)
        return self.bench.receive(made.write(self.root / f"{self.loops}.dcm"))

    def drawn(self, loop=None):
        """Receive a loop and draw it."""
        seq = self.send(loop)
        with self.shadow.held():
            assert self.worker.work_once()
        found = self.bench.loop(seq)
        assert found["state"] == "analysed", found["reason"]
        return found

    def until(self, condition):
        """Let the candidate draw until something holds."""
        end = time.monotonic() + LOADED_MACHINE_S
        while not (found := condition()):
            assert time.monotonic() < end, [dict(row) for row in self.steps()]
            self.shadow.look()
            time.sleep(0.02)
        return found

    def wait(self, condition, what):
        """Wait for the engine of another process."""
        return self.box.wait_for(condition, what)

    def steps(self, name="bright-1.1.0"):
        return release.history(self.ledger, name)

    def ended(self, state, name="bright-1.1.0"):
        """Wait for a state; returns why."""
        self.until(lambda: self.steps(name)[-1]["state"] not in ("fetched", "staged"))
        last = self.steps(name)[-1]
        assert last["state"] == state, last["why"]
        return last["why"]

    def beside(self, name="bright-1.1.0", against=IN_FORCE):
        return shadow.loops(self.ledger, self.sha256(name), against)

    def close(self):
        self.shadow.close()
        if hasattr(self, "choice"):
            self.choice.close()
        self.box.__exit__(None, None, None)


def arrived(box, folder, path, thresholds=FEW, floor=""):
    manifest = model_store.load_manifest(folder)
    gate = {"passed": True, "candidate": {"sha256": manifest.variants[0].sha256}}
    publish.pack(manifest, gate, "0.1.0", path, shadow=thresholds, floor=floor)
    name, state = model_store.name_of(manifest), box.settings.box.state_dir
    unpacked = bundle.unpack(path, bundle.unpacked(state, name))
    model_store.add(state, unpacked.folder)
    release.step(box.ledger, name, manifest.variants[0].sha256, "fetched", "")
    return name


def rewrite(folder, network):
    """Put another network into a model's folder, as whoever signs it can."""
    path = folder / "manifest.json"
    old = hashlib.sha256((folder / "network.onnx").read_bytes()).hexdigest()
    path.write_text(path.read_text().replace(old, hashlib.sha256(network).hexdigest()))
    (folder / "network.onnx").write_bytes(network)

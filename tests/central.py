"""The central team's repository of models on a web server, and a box that fetches from it."""

import functools
import http.server
import json
import shutil
import threading

from securesystemslib.signer import CryptoSigner

from appliance.config import Settings
from appliance.ledger import Ledger, release
from appliance.manifest import current_model, load_manifest
from appliance.releases import model_store
from appliance.releases.updates import Updates
from models import publish, signing
from models.repository import Repository


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def packed(folder, *versions):
    """Bundles of the shipped network under another name and these versions."""
    made = {}
    for version in versions:
        home = folder / version
        shutil.copytree(current_model().folder, home)
        said = json.loads((home / "manifest.json").read_text())
        said.update(name="cart", version=version)
        (home / "manifest.json").write_text(json.dumps(said))
        manifest = load_manifest(home)
        full = next(v for v in manifest.variants if v.precision == "f32")
        gate = {"passed": True, "candidate": {"sha256": full.sha256}}
        made[version] = folder / f"cart-{version}.tar"
        publish.pack(manifest, gate, "0.1.0", made[version])
    return made


class Central:
    """The central team: keys, a repository, and a web server that serves it."""

    def __init__(self, folder):
        self.keys = {name: CryptoSigner.generate_ed25519() for name in signing.ONLINE}
        self.roots = [CryptoSigner.generate_ed25519() for _ in range(3)]
        self.folder = folder / "repository"
        self.repository = Repository(self.folder)
        self.repository.create(self.roots, 2, self.keys)
        handler = functools.partial(Quiet, directory=str(self.folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def metadata(self):
        return self.folder / "metadata"

    def release(self, path, name=None):
        self.repository.add(name or path.name, path, {}, self.keys)


class CartBox:
    def __init__(self, folder, central):
        root = folder / "root.json"
        shutil.copyfile(central.metadata / "1.root.json", root)
        port = central.server.server_address[1]
        self.settings = Settings.model_validate(
            {
                "box": {"ae_title": "ECHOCART", "state_dir": folder / "state"},
                "updates": {"url": f"http://127.0.0.1:{port}", "root": root},
            }
        )
        (folder / "state").mkdir()
        self.ledger = Ledger(folder / "state")

    def fetch(self):
        return Updates(self.settings, self.ledger).fetch()

    def state(self, name):
        row = release.newest(self.ledger).get(name)
        return row and row["state"]

    def models(self):
        return {item.name for item in model_store.listed(self.settings.box.state_dir, [""])}

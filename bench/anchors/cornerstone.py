"""A Cornerstone3D stack viewer of the same loop, built from npm where a cache directory is named."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ASKED = "ECHOCART_CORNERSTONE"  # names the directory that it is built in: 200 MB
_SOURCE = Path(__file__).resolve().parent / "cornerstone_viewer"


def built() -> Path | None:
    """Return the folder of the built viewer, made on first use; None when nobody asked for it.

    Raises
    ------
    subprocess.CalledProcessError
        When npm or the build fails.
    """
    asked, npm = os.environ.get(ASKED), shutil.which("npm")
    if not asked or npm is None:
        return None
    cache = Path(asked).resolve()
    dist = cache / "dist"
    if dist.is_dir() and all(_same(file, cache / file.name) for file in _SOURCE.iterdir()):
        return dist
    cache.mkdir(parents=True, exist_ok=True)
    for file in _SOURCE.iterdir():
        shutil.copyfile(file, cache / file.name)
    subprocess.run([npm, "install", "--no-audit", "--no-fund"], cwd=cache, check=True)
    subprocess.run([npm, "run", "build"], cwd=cache, check=True)
    return dist


def _same(ours: Path, copy: Path) -> bool:
    return copy.exists() and ours.read_bytes() == copy.read_bytes()


@contextmanager
def served(dist: Path, loop: Path, masks: bytes, folder: Path) -> Iterator[str]:
    """Serve the viewer with a loop and its label maps; gives the address.

    Parameters
    ----------
    dist
        As `built` gives it.
    loop
        The DICOM file.
    masks
        uint8 [frames, rows, columns], in source pixels.
    folder
        Where copies of all may lie.
    """
    root = folder / "cornerstone"
    shutil.copytree(dist, root)
    shutil.copyfile(loop, root / "cine.dcm")
    (root / "masks.bin").write_bytes(masks)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    """Files, without a line on the console for each."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

"""`make deb`: the box as a Debian package with every wheel inside; `make deb TARGET=jetpack6`.

The package needs the system's Python and python3-systemd; it installs without network. What only
an NVIDIA machine can build (pycuda) isn't in it: docs/install.md.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from targets import REPOSITORY, TARGETS, Target, lock_path

sys.path.insert(0, str(REPOSITORY))
from appliance import __version__

PARTS = REPOSITORY / "build" / "deb"
UNITS = REPOSITORY / "systemd"
SCRIPTS = ("postinst", "prerm", "postrm")
HELPERS = ("install-release", "restart")
DOCUMENTS = ("docs/install.md", "docs/echocart.example.toml", "CHANGELOG.md", "README.md")


def build(name: str, out: Path, version: str, cache: Path) -> Path:
    """Make the package for a target and return its path.

    Parameters
    ----------
    name
        One of `targets.TARGETS`.
    out
        Where it goes.
    version
        As dpkg compares it.
    cache
        Where downloaded wheels stay for the next time.

    Raises
    ------
    subprocess.CalledProcessError
        When a wheel can't be had or dpkg-deb fails; it has said why.
    """
    target = TARGETS[name]
    must_be_locked(name)
    wheels = fetch(name, cache)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        root = Path(folder)
        root.chmod(0o755)
        lay_out(root)
        inside = root / "usr/lib/echocart/wheels"
        inside.mkdir(parents=True)
        for wheel in wheels:
            shutil.copy(wheel, inside)
        own_wheel(inside)
        control(root, target, version)
        path = out / f"echocart_{version}~py{target.python}_{target.architecture}.deb"
        # Wheels are compressed already.
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", root, path], check=True)
    return path


def must_be_locked(name: str) -> None:
    """Refuse to build what could not be installed.

    Raises
    ------
    SystemExit
        With what pyproject.toml asks for and the lock has not.
    """
    text = (REPOSITORY / "pyproject.toml").read_text()
    (block,) = re.findall(r"(?ms)^dependencies = \[(.*?)^\]", text)
    # For Pythons before 3.11 only; the resolver has seen to it.
    wanted = set(re.findall(r'(?m)^ +"([A-Za-z0-9._-]+)', block)) - {"tomli"}
    locked = {line.partition("==")[0] for line in lock_path(name).read_text().splitlines()}
    if missing := sorted(set(map(_plain, wanted)) - set(map(_plain, locked))):
        raise SystemExit(f"{lock_path(name)} lacks {', '.join(missing)}: make locks")


def _plain(name: str) -> str:
    return re.sub(r"[._]", "-", name).lower()


def fetch(name: str, cache: Path) -> list[Path]:
    """Return the locked wheels of a target, downloaded once."""
    target, folder = TARGETS[name], cache / name
    folder.mkdir(parents=True, exist_ok=True)
    lock, done = lock_path(name), folder / ".lock"
    if not done.exists() or done.read_text() != lock.read_text():
        for old in folder.glob("*.whl"):
            old.unlink()
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
        command += ["--no-deps", "--require-hashes", f"--dest={folder}", *target.platforms]
        subprocess.run([*command, f"--requirement={lock}"], check=True)
        done.write_text(lock.read_text())
    return sorted(folder.glob("*.whl"))


def own_wheel(folder: Path) -> None:
    """Build the wheel of this repository."""
    with tempfile.TemporaryDirectory() as scratch:
        # A copy: setuptools leaves a folder called build, and here that is source.
        source = Path(scratch) / "source"
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for part in ("appliance", "models/released"):
            shutil.copytree(REPOSITORY / part, source / part, ignore=ignored)
        for part in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
            shutil.copy(REPOSITORY / part, source)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        subprocess.run([*command, f"--wheel-dir={folder}", source], check=True)


def lay_out(root: Path) -> None:
    """Put everything but the wheels where the system looks for it."""
    system = root / "usr/lib/systemd/system"
    for kind in ("service", "socket", "target", "timer"):
        for unit in UNITS.glob(f"*.{kind}"):
            _put(unit, system / unit.name)
    generators = root / "usr/lib/systemd/system-generators"
    _put(UNITS / "generator", generators / "echocart-generator", 0o755)
    _put(UNITS / "echocart.sysusers", root / "usr/lib/sysusers.d/echocart.conf")
    _put(UNITS / "echocart.tmpfiles", root / "usr/lib/tmpfiles.d/echocart.conf")
    _put(UNITS / "again", root / "usr/lib/echocart/again", 0o755)
    for helper in HELPERS:
        _put(PARTS / helper, root / "usr/lib/echocart" / helper, 0o755)
    _put(PARTS / "echocart", root / "usr/bin/echocart", 0o755)
    _put(PARTS / "echocart.toml", root / "etc/echocart/echocart.toml", 0o640)
    documents = root / "usr/share/doc/echocart"
    for document in DOCUMENTS:
        _put(REPOSITORY / document, documents / Path(document).name)
    _put(REPOSITORY / "LICENSE", documents / "copyright")


def control(root: Path, target: Target, version: str) -> None:
    """Write what dpkg reads."""
    folder = root / "DEBIAN"
    folder.mkdir()
    major, minor = target.python.split(".")
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    # The environment is made on the box, beside the wheels: about as much again, unpacked.
    (folder / "control").write_text(f"""\
Package: echocart
Version: {version}~py{target.python}
Section: science
Priority: optional
Architecture: {target.architecture}
Maintainer: Echocart <echocart@localhost>
Installed-Size: {size}
Depends: python3 (>= {target.python}), python3 (<< {major}.{int(minor) + 1}), python3-systemd, systemd (>= 249)
Recommends: python3-libnvinfer
Description: receives echo loops, draws the left heart, has it reviewed, delivers
 A box on the ultrasound cart: DICOM reception, masks and measures on every frame,
 a review page, DICOM SEG and structured reports. Research use only.
""")
    (folder / "conffiles").write_text("/etc/echocart/echocart.toml\n")
    for script in SCRIPTS:
        text = (PARTS / script).read_text()
        text = text.replace("@VERSION@", version).replace("@PYTHON@", f"python{target.python}")
        (folder / script).write_text(text)
        (folder / script).chmod(0o755)


def _put(source: Path, to: Path, mode: int = 0o644) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, to)
    to.chmod(mode)


def main() -> None:
    """Build the package of one target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "artefacts" / "deb")
    parser.add_argument("--version", default=__version__, help="as dpkg compares it")
    parser.add_argument("--wheels", type=Path, default=REPOSITORY / "artefacts" / "wheels")
    arguments = parser.parse_args()
    print(build(arguments.target, arguments.out, arguments.version, arguments.wheels))


if __name__ == "__main__":
    main()

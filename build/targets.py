"""The systems a package is made for, and the exact wheels of each (build/locks)."""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LOCKS = REPOSITORY / "build" / "locks"
# Comes along so that the system needs no python3-pip to install the wheels.
INSTALLER = "pip"


@dataclass(frozen=True)
class Target:
    """One kind of system.

    Attributes
    ----------
    python
        Version of its own Python, which the environment is made with.
    machine
        As wheels name it: `x86_64` or `aarch64`.
    glibc
        Minor version of its glibc 2.x: the newest manylinux wheels that it takes.
    """

    python: str
    machine: str
    glibc: int

    @property
    def architecture(self) -> str:
        """The same as Debian names it."""
        return {"x86_64": "amd64", "aarch64": "arm64"}[self.machine]

    @property
    def platforms(self) -> list[str]:
        """Options that let pip on another machine choose this one's wheels."""
        old = ["manylinux2014", "manylinux2010", "manylinux1"]
        names = [*(f"manylinux_2_{minor}" for minor in range(self.glibc, 16, -1)), *old]
        chosen = [f"--platform={name}_{self.machine}" for name in names]
        return [*chosen, f"--python-version={self.python}", "--implementation=cp"]


TARGETS = {
    "jetpack6": Target("3.10", "aarch64", 35),
    "jetpack7": Target("3.12", "aarch64", 39),
    "ubuntu22.04": Target("3.10", "x86_64", 35),
    "ubuntu24.04": Target("3.12", "x86_64", 39),
    "debian12": Target("3.11", "x86_64", 36),
    "debian13": Target("3.13", "x86_64", 41),
}


def lock_path(name: str) -> Path:
    """Return the lock of a target."""
    return LOCKS / f"{name}.txt"


def resolve(name: str, report: Path | None = None, requirements: Path | None = None) -> None:
    """Let pip find a wheel for each locked version, without installing anything.

    Raises
    ------
    subprocess.CalledProcessError
        When one has none, or another hash; pip has said which.
    """
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as nowhere:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--only-binary=:all:"]
        command += ["--no-deps", "--quiet", "--ignore-installed", f"--target={nowhere}"]
        # pip holds what a wheel requires against the Python it runs on, not the target's; the
        # lock was made with the target's.
        command += ["--ignore-requires-python"]
        command += [*target.platforms, f"--requirement={requirements or lock_path(name)}"]
        if report:
            command.append(f"--report={report}")
        subprocess.run(command, check=True)


def lock(name: str, uv: str) -> None:
    """Choose the newest versions a target can have and write them down with their hashes.

    Raises
    ------
    subprocess.CalledProcessError
        When there is no choice; uv or pip has said why.
    """
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        chosen, report = Path(folder) / "chosen.txt", Path(folder) / "report.json"
        wanted = Path(folder) / "wanted.in"
        wanted.write_text(INSTALLER)
        subprocess.run(
            [
                *(uv, "pip", "compile", "--quiet", "pyproject.toml", str(wanted)),
                *("--only-binary=:all:", "--no-header", "--no-annotate", "--upgrade"),
                f"--python-version={target.python}",
                f"--python-platform={target.machine}-manylinux_2_{min(target.glibc, 40)}",
                f"--output-file={chosen}",
            ],
            cwd=REPOSITORY,
            check=True,
        )
        resolve(name, report, chosen)
        found = json.loads(report.read_text())["install"]
    lines = []
    for item in found:
        data, hashes = item["metadata"], item["download_info"]["archive_info"]["hashes"]
        lines.append(f"{data['name']}=={data['version']} --hash=sha256:{hashes['sha256']}\n")
    LOCKS.mkdir(exist_ok=True)
    lock_path(name).write_text("".join(sorted(lines, key=str.lower)))


def main() -> None:
    """`check` that every target has its wheels, or `lock` them anew (needs uv)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("check", "lock"))
    parser.add_argument("names", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--uv", default="uv", help="the uv program, for `lock`")
    arguments = parser.parse_args()
    for name in arguments.names or TARGETS:
        if arguments.what == "lock":
            lock(name, arguments.uv)
        else:
            resolve(name)
        count = len(lock_path(name).read_text().splitlines())
        print(f"{name}: {count} wheels")


if __name__ == "__main__":
    main()

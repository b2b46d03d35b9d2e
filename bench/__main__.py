"""Run every benchmark in full, keep the figures with machine and revision, refresh the docs page."""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from bench.figures import Figure, table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "benchmarks.md"
_SHARED = (
    "backlog",
    "catalogue",
    "cycle",
    "figures",
    "finger",
    "loops",
    "receivers",
    "straightforward",
)
_NOTES = {
    "learning": "What retraining on corrections that all err to one side costs other hearts, and"
    " how much of it is learnt, is in [retraining.md](retraining.md)"
    " (`python -m models.experiments`). Reading what was pulled takes processors, waiting for the"
    " archive does not: on a busy machine the pull loses more than the bare loop.",
    "reception": "Processor time is what its parts cost alone on the same machine"
    " (`python -m bench reception_floor`), and about half as much again for what holds them"
    " together: hashing on a second core reads the file back from memory, each object is walked to"
    " its last fragment, and threads take turns. storescp neither hashes nor syncs nor records."
    " Writing past the page cache (O_DIRECT) would spare the receiver up to a fifth of a second for"
    " 1 GB, and leave the engine to read each loop from the disk: it isn't done.",
}
NAMES = sorted(path.stem for path in HERE.glob("[a-z]*.py") if path.stem not in _SHARED)


def main() -> None:
    """Run the benchmarks named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"among {', '.join(NAMES)}")
    parser.add_argument(
        "--quick", action="store_true", help="short runs, for a look; nothing is kept"
    )
    arguments = parser.parse_args()
    failed = [name for name in arguments.names if not run(name, arguments.quick)]
    if not arguments.quick:
        PAGE.write_text(page())
    if failed:
        sys.exit(f"did not finish: {', '.join(failed)}")


def run(name: str, quick: bool) -> bool:
    """Run one benchmark in a process of its own; True when it finished."""
    print(f"## {name}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    command = [sys.executable, "-m", f"bench.{name}"]
    if quick:
        return subprocess.run([*command, "--quick"], check=False).returncode == 0
    if subprocess.run([*command, "--json", str(path)], check=False).returncode:
        return False
    figures = json.loads(path.read_text())
    path.write_text(json.dumps({**machine(), "figures": figures}, indent=1, ensure_ascii=False))
    return True


def machine() -> dict[str, str]:
    """Return what was measured where: processor, cores, Python, revision, day."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "revision": revision,
        "day": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }


def page() -> str:
    """Return docs/benchmarks.md, made from the results that are kept."""
    parts = [
        "# Benchmarks",
        "Made by `make bench`; one of them alone by `python -m bench NAME`."
        " Anchors run in the same run on the same machine."
        " With `ECHOCART_CORNERSTONE=DIR`, Cornerstone3D is built by npm in that directory and"
        " measured beside the review page.",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        where = (
            f"{result['processor']}, {result['cores']} cores, Python {result['python']},"
            f" revision {result['revision']}, {result['day']}"
        )
        figures = [Figure(**row) for row in result["figures"]]
        parts += [f"## {path.stem}", where, table(figures)]
        parts += [_NOTES[path.stem]] if path.stem in _NOTES else []
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()

"""What a box is made of, as a CycloneDX bill of materials (JSON).

    python build/sbom.py OUT                  of the environment that runs this
    python build/sbom.py OUT --python PATH    of another one, as a box's own

Packages that the base install needs and no others, whatever else lies in the environment; the
Python, SQLite and OpenSSL they run on; the networks that come with them. No time and no serial
number: the same environment gives the same file.
"""

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Json = dict[str, Any]

# Run by the environment that is described: it alone knows what is installed in it.
_INSIDE = """
import importlib.metadata as m, json, re, sqlite3, ssl, sys
seen = {}
def plain(name): return re.sub(r"[-_.]+", "-", name).lower()
def walk(name):
    for line in m.distribution(name).requires or []:
        needed = plain(re.match(r"[A-Za-z0-9._-]+", line)[0])
        if "extra ==" in line or needed in seen:
            continue
        try:
            seen[needed] = m.version(needed)
        except m.PackageNotFoundError:
            continue  # of another platform or Python
        walk(needed)
walk("echocart")
print(json.dumps({
    "echocart": m.version("echocart"), "packages": seen,
    "python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version,
    "openssl": ssl.OPENSSL_VERSION.split()[1],
}))
"""


def bill(python: str = sys.executable) -> Json:
    """Return the bill of an environment in which the box is installed.

    Raises
    ------
    subprocess.CalledProcessError
        When the box isn't installed in it, or the tool that lists it fails.
    """
    there = json.loads(_output([python, "-c", _INSIDE]))
    found = _listed(python)
    base = set(there["packages"])
    found["components"] = [item for item in found["components"] if _plain(item["name"]) in base]
    if missing := base - {_plain(item["name"]) for item in found["components"]}:
        raise LookupError(f"not in the list of components: {', '.join(sorted(missing))}")
    root = found["metadata"]["component"]
    root["version"] = there["echocart"]
    others = [*_beneath(there), *_networks()]
    found["components"] += others
    found["dependencies"] = _graph(found, root["bom-ref"], [item["bom-ref"] for item in others])
    return found


def _listed(python: str) -> Json:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bill.json"
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
        command += ["--no-validate"]  # a test validates what becomes of it
        command += ["--pyproject", str(ROOT / "pyproject.toml"), "-o", str(out), python]
        _output(command)
        listed: Json = json.loads(out.read_text())
        return listed


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _beneath(there: Json) -> Iterator[Json]:
    """What the packages run on; a system's packages bring it, and mend it."""
    for name in ("python", "sqlite", "openssl"):
        yield {
            "bom-ref": f"{name}=={there[name]}",
            "type": "platform" if name == "python" else "library",
            "name": name,
            "version": there[name],
        }


def _networks() -> Iterator[Json]:
    for path in sorted(ROOT.glob("models/released/*/manifest.json")):
        manifest = json.loads(path.read_text())
        yield {
            "bom-ref": path.parent.name,
            "type": "machine-learning-model",
            "name": manifest["name"],
            "version": manifest["version"],
            "licenses": [{"license": {"name": manifest["licence"]}}],
            "hashes": [{"alg": "SHA-256", "content": sha256(path.read_bytes()).hexdigest()}],
        }


def _graph(found: Json, root: str, others: list[str]) -> list[Json]:
    """Edges between what is left; each of them hangs on the box where nothing else needs it."""
    known = {item["bom-ref"] for item in found["components"]}
    edges = {
        item["ref"]: [ref for ref in item.get("dependsOn", []) if ref in known]
        for item in found["dependencies"]
        if item["ref"] in known
    }
    needed = {ref for refs in edges.values() for ref in refs}
    tops = sorted({*(ref for ref in known if ref not in needed), *others})
    rows = [
        {"ref": ref, "dependsOn": refs} if refs else {"ref": ref} for ref, refs in edges.items()
    ]
    rows += [{"ref": ref} for ref in others]
    return [{"ref": root, "dependsOn": tops}, *rows]


def main() -> int:
    """Write the bill to the file that is named."""
    parser = argparse.ArgumentParser(description="A bill of materials in CycloneDX JSON.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--python", default=sys.executable, help="of the environment to describe")
    given = parser.parse_args()
    try:
        importlib.metadata.version("cyclonedx-bom")
    except importlib.metadata.PackageNotFoundError:
        parser.error("cyclonedx-bom isn't installed here: pip install 'echocart[docs]'")
    found = bill(given.python)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{given.out}: {len(found['components'])} components\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

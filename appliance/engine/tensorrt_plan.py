"""TensorRT plans on disk: whole and made for exactly this machine and model, or refused.

A plan file is one line of JSON, then the plan. The line holds the plan's SHA-256 and its key:
everything the plan is tied to. The file's name holds the key's hash, so that a change of any of
it asks for another file.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.engine.tensorrt_probe import Gpu, as_dict
from appliance.errors import BackendError
from appliance.manifest import Manifest, Precision

_PARTIAL = ".partial-"
_LINE_BYTES = 1 << 16
_OPEN = "open a TensorRT plan"


@dataclass(frozen=True)
class BuildSettings:
    """What changes the plan that the builder makes.

    Attributes
    ----------
    workspace_mb
        GPU memory that the builder and a plan's layers may use for scratch.
    """

    workspace_mb: int = 1024


@dataclass(frozen=True)
class Key:
    """What a plan is tied to, and the hash that stands for it."""

    values: Mapping[str, Any]

    @property
    def short(self) -> str:
        """Sixteen hexadecimal digits."""
        text = json.dumps(self.values, sort_keys=True).encode()
        return hashlib.sha256(text).hexdigest()[:16]


def key_of(manifest: Manifest, precision: Precision, gpu: Gpu, settings: BuildSettings) -> Key:
    """Return the key of a model's plan on this GPU.

    Raises
    ------
    ManifestError
        When the model has no file for TensorRT at this precision.
    """
    variant = manifest.variant("tensorrt", precision)
    return Key(
        {
            "onnx_sha256": variant.sha256,
            "precision": precision,
            **as_dict(gpu),
            "workspace_mb": settings.workspace_mb,
        }
    )


def plan_path(folder: Path, manifest: Manifest, precision: Precision, key: Key) -> Path:
    """Return where the plan of this key is, or will be."""
    return folder / f"{manifest.name}-{manifest.version}.{precision}.{key.short}.plan"


def write_plan(path: Path, key: Mapping[str, Any], plan: bytes | memoryview) -> None:
    """Install a plan under its name: whole and on disk, or not at all.

    Raises
    ------
    OSError
        When it can't be written. Nothing is left under `path` that was not there.
    """
    head = {"key": dict(key), "sha256": hashlib.sha256(plan).hexdigest(), "size": len(plan)}
    install(path, json.dumps(head, sort_keys=True).encode() + b"\n", plan)


def read_plan(path: Path, key: Key) -> bytes:
    """Return a plan's bytes.

    Raises
    ------
    BackendError
        When there is none, it is not whole, or it was made for something else.
    """
    try:
        with path.open("rb") as file:
            line, plan = file.readline(_LINE_BYTES), file.read()
    except OSError as error:
        raise _refused("there is none yet") from error
    try:
        head = json.loads(line)
        values, sha256, size = head["key"], head["sha256"], head["size"]
    except (ValueError, KeyError, TypeError) as error:
        raise _refused("its first line is not that of a plan") from error
    if len(plan) != size:
        raise _refused(f"it has {len(plan)} bytes of {size}")
    if hashlib.sha256(plan).hexdigest() != sha256:
        raise _refused("its bytes are not those that were written")
    if values != dict(key.values):
        changed = sorted(k for k in {*values, *key.values} if values.get(k) != key.values.get(k))
        raise _refused(f"it was built for another {', '.join(changed)}")
    return plan


def discard_partial(folder: Path) -> None:
    """Remove what builds that were cut short have left; what a living process writes stays."""
    for path in folder.glob(f"{_PARTIAL}*"):
        writer = path.name.removeprefix(_PARTIAL).partition("-")[0]
        if not Path(f"/proc/{writer}").exists():
            path.unlink(missing_ok=True)


def install(path: Path, *parts: bytes | memoryview) -> None:
    """Write bytes under a temporary name, sync, rename, sync the directory.

    Raises
    ------
    OSError
        When one of these fails.
    """
    partial = path.with_name(f"{_PARTIAL}{os.getpid()}-{secrets.token_hex(8)}")
    try:
        with partial.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(what: str) -> BackendError:
    return BackendError(_OPEN, what, "The box builds it anew; `echocart engine build` does it now.")

"""What a model's makers found of each feature where the model was made: a file beside it.

`models.reference_statistics` writes it. It names the network it is of, so that no other model's
is taken for it; a model without one, or with one that can't be read, is held against the box's
own first studies.
"""

import logging
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.drift.features import BY_NAME
from appliance.drift.kolmogorov import Values
from appliance.errors import ManifestError
from appliance.manifest import Manifest
from appliance.releases.model_store import load

log = logging.getLogger("echocart.engine")

NAME = "reference.json"


class Reference(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference_version: Literal[1] = 1
    network_sha256: str = Field(description="of the model's first variant")
    data: str = Field(description="what it was made from")
    values: dict[str, list[float]] = Field(description="feature to one value for each patient")


def of(state_dir: Path, model: str) -> Reference | None:
    """Return the reference of a model of the box; None where it has none that is its own."""
    try:
        manifest = load(state_dir, model)
    except ManifestError:
        return None  # gone since it drew
    return read(manifest)


def read(manifest: Manifest) -> Reference | None:
    """Return the reference beside a model; None where there is none of its own."""
    path = manifest.folder / NAME
    try:
        found = Reference.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        log.warning("%s of %s can't be read: its own first loops are taken", NAME, manifest.name)
        return None
    if found.network_sha256 != manifest.variants[0].sha256:
        log.warning("%s of %s is another model's", NAME, manifest.name)
        return None
    return found


def samples(reference: Reference | None) -> dict[str, Values]:
    """Return the values of each feature that is known here."""
    if reference is None:
        return {}
    return {
        name: np.asarray(values, np.float64)
        for name, values in reference.values.items()
        if name in BY_NAME
    }

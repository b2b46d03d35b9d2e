"""What a model is: names, colours, codes, files and how good it is; read from its folder, verified.

Every name of a structure on the box comes from here.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from appliance.errors import ManifestError

Precision = Literal["f32", "bf16", "f16", "int8"]
BackendName = Literal["openvino", "onnxruntime"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

VIEW_INPUT = (96, 96)  # rows and columns of the view network's frames

_NAME = "manifest.json"
_CURRENT = "current"
_LOAD = "load a model"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Structure(_Part):
    """One structure of the label map: its value there, its colour and its code."""

    name: str = Field(description="as a sonographer reads it")
    label: int = Field(ge=1, le=255, description="value in the label map")
    colour: str = Field(pattern=r"^#[0-9A-F]{6}$", description="sRGB, colour-blind safe")
    code: str = Field(pattern=r"^[0-9]{6,18}$", description="SNOMED CT concept (scheme SCT)")
    meaning: str = Field(description="meaning of the code, as DICOM PS3.16 writes it")


class Input(_Part):
    """The network's input `frame`: uint8 [1, 1, rows, columns], the letterboxed fan."""

    rows: int = Field(gt=0)
    columns: int = Field(gt=0)


class Output(_Part):
    """One output of the network: its name, type and shape."""

    name: Literal["labels", "confidence", "certainty"]
    type: Literal["uint8", "float32"]
    shape: tuple[int, ...]


class Accuracy(_Part):
    """Dice of each structure against an expert, as one backend gives it at the variant's precision."""

    backend: BackendName
    data: str = Field(description="frames it was measured on")
    frames: int = Field(gt=0)
    dice: dict[str, float] = Field(description="structure name to mean Dice over the frames, 0..1")


class Variant(_Part):
    """One file at one precision, and the backends that run it.

    OpenVINO's int8 is a ZIP of its IR, `network.xml` and `network.bin`; every other file is ONNX.
    """

    file: str = Field(pattern=r"^[\w.-]+$")
    sha256: Sha256
    precision: Precision
    backends: tuple[BackendName | Literal["tensorrt"], ...] = Field(
        description="tensorrt builds its own plan of the file, and checks it on the box"
    )
    accuracy: tuple[Accuracy, ...]


class Gates(_Part):
    """What a loop must be before a measure is shown."""

    views: tuple[str, ...] = Field(description="views the model was trained on")
    min_frames: int = Field(ge=1, description="fewest frames of a loop")
    precision_loss: float = Field(
        ge=0, description="largest loss of Dice, in points of 100, a lower precision may cost"
    )


class ViewNetwork(_Part):
    """The small network that tells a loop's view: ONNX, `frames` uint8 [n, 1, 96, 96] in.

    Out come `view` float32 [n, views], probabilities, and `distance` float32 [n], how far a frame
    lies from the hearts it learnt from.
    """

    file: str = Field(pattern=r"^[\w.-]+$")
    sha256: Sha256
    views: tuple[str, ...] = Field(
        min_length=2, description='in the order of its output; "other" too'
    )
    limit_apical: float = Field(
        gt=0, lt=1, description="least mean probability of the views the model draws on"
    )
    limit_distance: float = Field(gt=0, description="largest median distance of a loop's frames")


class Manifest(_Part):
    """A released model. `folder` is where it was loaded from; the rest is its manifest.json."""

    manifest_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9-]+$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    licence: str = Field(description="SPDX identifier")
    research_use_only: bool
    citation: str = Field(description="what the licence asks to cite")
    structures: tuple[Structure, ...] = Field(min_length=1)
    input: Input
    outputs: tuple[Output, ...]
    variants: tuple[Variant, ...] = Field(min_length=1)
    gates: Gates
    view: ViewNetwork | None = Field(None, description="None: the model tells no views")
    lineage: tuple[str, ...] = Field(description="data and steps it was made from, oldest first")

    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Where the model's files are."""
        return self._folder

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """Label values in the order of the structures."""
        return tuple(structure.label for structure in self.structures)

    @cached_property
    def files(self) -> dict[str, str]:
        """Name to SHA-256 of every file the manifest names."""
        view = {self.view.file: self.view.sha256} if self.view else {}
        return {**{variant.file: variant.sha256 for variant in self.variants}, **view}

    def variant(self, backend: str, precision: str) -> Variant:
        """Return the variant that a backend runs at a precision.

        Raises
        ------
        ManifestError
            When the model has none.
        """
        for variant in self.variants:
            if backend in variant.backends and variant.precision == precision:
                return variant
        here = get_args(BackendName)
        have = ", ".join(
            f"{b} {v.precision}" for v in self.variants for b in v.backends if b in here
        )
        raise ManifestError(
            _LOAD,
            f"{self.name} {self.version} doesn't run on {backend} at {precision}",
            f"Choose engine.backend and engine.precision from: {have}.",
        )

    def structures_as_dicts(self) -> list[dict[str, Any]]:
        """Structures as plain values, for an analysis row and the page."""
        return [structure.model_dump() for structure in self.structures]


def released_dir() -> Path:
    """Return the folder of the released models, in the repository as in an installed wheel."""
    return Path(__file__).resolve().parent.parent / "models" / "released"


def current_model(name: str = "") -> Manifest:
    """Load a released model by its folder's name; the empty name takes the default.

    Raises
    ------
    ManifestError
        When there is no such model, or `load_manifest` refuses it.
    """
    released = released_dir()
    if not name:
        try:
            name = (released / _CURRENT).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(
                _LOAD, f"{released / _CURRENT} can't be read", "Install the package again."
            ) from error
    have = sorted(manifest.parent.name for manifest in released.glob(f"*/{_NAME}"))
    if name not in have:
        hint = f"engine.model can be: {', '.join(have)}."
        raise ManifestError(_LOAD, f"there is no released model {name!r}", hint)
    return load_manifest(released / name)


def load_manifest(folder: Path) -> Manifest:
    """Read a model's manifest and verify its files.

    Parameters
    ----------
    folder
        Holds manifest.json and the files its variants name.

    Raises
    ------
    ManifestError
        When the manifest is missing or not of this schema, or a file is missing or not the one
        that was released (SHA-256).
    """
    path = folder / _NAME
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ManifestError(_LOAD, f"{path} can't be read", "Install the model again.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        hint = "Install the model again, or a release of the box that knows this manifest."
        raise ManifestError(_LOAD, f"{path}: {where}: {first['msg']}", hint) from error
    for file, sha256 in sorted(manifest.files.items()):
        _verify(folder / file, sha256)
    manifest._folder = folder
    return manifest


def schema() -> str:
    """Return the manifest's JSON Schema as it is committed in models/manifest.schema.json."""
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(),
    }
    return json.dumps(described, indent=2) + "\n"


def _verify(path: Path, sha256: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ManifestError(_LOAD, f"{path} can't be read", "Install the model again.") from error
    if found != sha256:
        raise ManifestError(
            _LOAD, f"{path} is not the file that was released", "Install the model again."
        )

"""The box's TOML file: settings a person writes, checked before anything starts."""

import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from appliance.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
Port = Annotated[int, Field(ge=1, le=65535)]


def _ae_title(value: str) -> str:
    """PS3.5 6.2: 16 characters of the default repertoire without backslash."""
    if not re.fullmatch(r"[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]{0,15}", value):
        raise ValueError("an AE title has 1 to 16 plain characters, no backslash")
    return value.strip()


AETitle = Annotated[str, AfterValidator(_ae_title)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Box(_Section):
    """What the box is called and where it keeps everything."""

    ae_title: AETitle = Field(description="AE title of this box, as entered on the echo machines")
    state_dir: Path = Field(default=Path("/var/lib/echocart"), description="ledger and images")
    station_name: str = Field(
        default="Echocart", max_length=16, description="StationName in results"
    )


class Scp(_Section):
    """How echo machines reach the box."""

    host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104
    port: Port = Field(default=11112, description="DICOM port")
    maximum_pdu: int = Field(default=131072, ge=4096, le=1 << 20, description="bytes, both ways")
    maximum_associations: int = Field(default=50, ge=1, le=500, description="at the same time")
    space_floor_mb: int = Field(
        default=500, ge=0, description="below it, images are refused (A700)"
    )


class Engine(_Section):
    """What draws the heart."""

    backend: Literal["auto", "openvino", "onnxruntime"] = "auto"
    precision: Literal["auto", "f32", "bf16"] = "auto"
    threads: int = Field(default=0, ge=0, le=256, description="0 takes all cores")
    model: str = Field(default="", description="name of a released model; empty takes the default")


class Webui(_Section):
    """Where the review page is."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: Port = Field(default=8080, description="HTTP port")

    @field_validator("host")
    @classmethod
    def _is_loopback(cls, value: str) -> str:
        if value not in _LOOPBACK:
            raise ValueError(
                "the page shows patients and has no log-in with a secret yet:"
                " it listens on 127.0.0.1 only"
            )
        return value


Wish = Literal["originals", "results", "corrections"]
Gets = Annotated[
    tuple[Wish, ...], Field(min_length=1, description="what it is sent; originals at once")
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$", description="as shown on the page")]


class Folder(_Section):
    """A directory of Part 10 files: a USB stick, a network share."""

    name: Name
    kind: Literal["folder"]
    path: Path = Field(description="an existing directory on the stick or share")
    gets: Gets = ("results",)


class DicomPeer(_Section):
    """A PACS or another Storage SCP."""

    name: Name
    kind: Literal["dicom"]
    host: str = Field(min_length=1, description="its address")
    port: Port
    called_ae: AETitle = Field(description="its AE title; ours is box.ae_title")
    gets: Gets = ("results",)


class DicomWebPeer(_Section):
    """A DICOMweb server: the central archive of corrections, or a PACS."""

    name: Name
    kind: Literal["dicomweb"]
    url: str = Field(description="base of STOW-RS, QIDO-RS and WADO-RS")
    user: str = Field(default="", description="for HTTP basic authentication")
    password_file: Path | None = Field(default=None, description="holds the password alone")
    gets: Gets = ("corrections",)

    @field_validator("url")
    @classmethod
    def _is_a_plain_address(cls, value: str) -> str:
        """Secrets in an address would come back in every message that names it."""
        if "@" in value:
            raise ValueError("name the user in `user`, the password in `password_file`")
        if not re.fullmatch(r"https?://[A-Za-z0-9._-]+(:\d{1,5})?(/[\w./~-]*)?", value):
            raise ValueError("must be like https://archive.example.org/dicom-web")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _user_and_password_come_together(self) -> "DicomWebPeer":
        if bool(self.user) != bool(self.password_file):
            raise ValueError("`user` and `password_file` come together")
        return self


KINDS = {"folder": Folder, "dicom": DicomPeer, "dicomweb": DicomWebPeer}
Destination = Annotated[Folder | DicomPeer | DicomWebPeer, Field(discriminator="kind")]


class Sync(_Section):
    """When results leave."""

    study_closes_after_s: float = Field(
        default=600.0, ge=0, description="quiet seconds after which a reviewed study is closed"
    )


class Upstream(_Section):
    """How corrections are made nameless before they leave for the central archive."""

    key_file: Path | None = Field(
        default=None, description="32 random bytes; empty: upstream.key in state_dir, made once"
    )
    site: str = Field(default="", max_length=16, description="name of the site in corrections")


class Settings(_Section):
    """Everything a site may set; only `box.ae_title` has no default."""

    box: Box
    scp: Scp = Scp()
    engine: Engine = Engine()
    webui: Webui = Webui()
    sync: Sync = Sync()
    upstream: Upstream = Upstream()
    destination: tuple[Destination, ...] = ()

    @field_validator("destination")
    @classmethod
    def _names_differ(cls, value: tuple[Destination, ...]) -> tuple[Destination, ...]:
        names = [item.name for item in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two destinations are called {name!r}")
        return value

    @property
    def originals(self) -> tuple[str, ...]:
        """Names of the destinations that get every object byte for byte."""
        return tuple(item.name for item in self.destination if "originals" in item.gets)

    def wanted(self, decision: str) -> list[tuple[str, str]]:
        """Return (destination, kind) of each object that a decision sends."""
        kinds = {"results": ("seg", "sr"), "corrections": ("correction",), "originals": ()}
        return [
            (item.name, kind)
            for item in self.destination
            for wish in ("results", "corrections")
            if wish in item.gets and (wish == "results" or decision == "corrected")
            for kind in kinds[wish]
        ]


def load(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises
    ------
    ConfigError
        With every mistake of the file, each with its line.
    """
    settings, mistakes = examine(path)
    if settings is None:
        hint = "Mend the file; `echocart check` explains each line."
        raise ConfigError("read the configuration", f"{path}: {'; '.join(mistakes)}", hint)
    return settings


def examine(path: Path) -> tuple[Settings | None, list[str]]:
    """Return the settings, or None and every mistake as "line N: what is wrong. What to do"."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8 text"
        return None, [f"the file can't be read ({reason}). Name it with --config FILE"]
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [f"it isn't valid TOML: {error}"]
    try:
        return Settings.model_validate(values), []
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        return None, [_explain(text, dict(problem)) for problem in problems]


def line_of(text: str, location: tuple[int | str, ...]) -> int | None:
    """Return the line (from 1) where a TOML key or its table stands, or None.

    Parameters
    ----------
    text
        The file.
    location
        Keys from the top, as pydantic gives them: ("scp", "port"), ("destination", 1, "path").
    """
    table, index = str(location[0]), 0
    rest = list(location[1:])
    if rest and isinstance(rest[0], int):
        index = int(rest.pop(0))
    key = str(rest[0]) if rest else None
    current, seen, table_line = "", -1, None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}", line)
        if header:
            current = header.group(1)
            seen += current == table
            if current == table and max(seen, 0) == index:
                table_line = number
        elif re.match(rf"\s*{re.escape(key or table)}\s*=", line):
            inside = current == table and max(seen, 0) == index
            if (key and inside) or (key is None and current == ""):
                return number
    return table_line


def _explain(text: str, problem: dict[str, Any]) -> str:
    location = _without_tag(tuple(problem["loc"]))
    if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
        location = (*location, "kind")
    name = ".".join(str(part) for part in location)
    line = line_of(text, location)
    where = f"line {line}: " if line else ""
    if problem["type"] == "extra_forbidden":
        return f"{where}{name} is not a setting. {_did_you_mean(tuple(problem['loc']))}"
    if problem["type"] == "union_tag_not_found":
        return f"{where or 'the file: '}{name} is missing: {_one_kind_of()}"
    if problem["type"] == "union_tag_invalid":
        return f"{where}{name}: {_one_kind_of(str(problem['input'].get('kind')))}"
    if problem["type"] == "missing":
        return f"{where or 'the file: '}{name} is missing. Add it; it has no default"
    if problem["type"] in _PLAIN_WORDS:
        problem["msg"] = _PLAIN_WORDS[problem["type"]]
    return f"{where}{name}: {problem['msg'].removeprefix('Value error, ')}{_given(problem)}"


_PLAIN_WORDS = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "string_type": "must be text in quotation marks",
    "path_type": "must be a path in quotation marks",
    "string_pattern_mismatch": "must be 1 to 32 letters, digits, - or _",
    "tuple_type": 'must be a list, as in ["results"]',
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


def _given(problem: dict[str, Any]) -> str:
    given = problem["input"]
    # A whole table is no help; an address with "@" may hold a password.
    hidden = isinstance(given, dict | BaseModel) or "@" in str(given)
    return "" if hidden else f" (now {given!r})"


def _without_tag(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Drop the kind of destination that pydantic puts behind its index."""
    tagged = location[0] == "destination" and len(location) > 2
    return (*location[:2], *location[3:]) if tagged else location


def _one_kind_of(given: str = "") -> str:
    close = get_close_matches(given, KINDS, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    now = f" (now {given!r})" if given else ""
    return f"must be one of {', '.join(KINDS)}{now}.{guess}"


def _did_you_mean(location: tuple[int | str, ...]) -> str:
    model: Any = Settings
    if location[0] == "destination" and len(location) > 2:
        model = KINDS[str(location[2])]
    elif len(location) > 1:
        model = Settings.model_fields[str(location[0])].annotation
    known = list(model.model_fields)
    close = get_close_matches(str(location[-1]), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Settings here: {', '.join(known)}"

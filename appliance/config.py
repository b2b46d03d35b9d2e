"""The box's TOML file: settings a person writes, checked before anything starts."""

import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
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
Location = tuple[int | str, ...]  # keys from the top: ("destination", 1, "path")


def ae_title(value: str) -> str:
    """Check an AE title (PS3.5 6.2): 16 characters of the default repertoire, no backslash.

    Raises
    ------
    ValueError
        With the rule.
    """
    if not re.fullmatch(r"[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]{0,15}", value):
        raise ValueError("an AE title has 1 to 16 plain characters, no backslash")
    return value.strip()


def _short_string(value: str) -> str:
    """PS3.5 6.2, SH: the backslash separates values, and control characters mean nothing."""
    if len(value) > 16 or "\\" in value or not value.isprintable():
        raise ValueError("must be at most 16 characters on one line, no backslash")
    return value


def _whole_path(value: Path) -> Path:
    """Each service is started from a directory of its own: what is relative differs for each."""
    if not value.is_absolute():
        raise ValueError("must be a whole path, from / on")
    return value


def _not_a_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


AETitle = Annotated[str, AfterValidator(ae_title)]
ShortString = Annotated[str, AfterValidator(_short_string)]
WholePath = Annotated[Path, AfterValidator(_whole_path)]
Whole = Annotated[int, BeforeValidator(_not_a_truth)]
Seconds = Annotated[float, BeforeValidator(_not_a_truth), Field(ge=0, allow_inf_nan=False)]
Port = Annotated[Whole, Field(ge=1, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Box(_Section):
    """What the box is called and where it keeps everything."""

    ae_title: AETitle = Field(description="AE title of this box, as entered on the echo machines")
    state_dir: WholePath = Field(default=Path("/var/lib/echocart"), description="ledger and images")
    station_name: ShortString = Field(default="Echocart", description="StationName in results")


class Scp(_Section):
    """How echo machines reach the box."""

    host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104
    port: Port = Field(default=11112, description="DICOM port")
    maximum_pdu: Whole = Field(default=131072, ge=4096, le=1 << 20, description="bytes, both ways")
    maximum_associations: Whole = Field(default=50, ge=1, le=500, description="at the same time")
    space_floor_mb: Whole = Field(
        default=500, ge=0, description="below it, images are refused (A700)"
    )


class Engine(_Section):
    """What draws the heart."""

    backend: Literal["auto", "openvino", "onnxruntime"] = "auto"
    precision: Literal["auto", "f32", "bf16"] = "auto"
    threads: Whole = Field(default=0, ge=0, le=256, description="0 takes all cores")
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
_NAME = r"^[A-Za-z0-9_-]{1,32}$"
Name = Annotated[str, Field(pattern=_NAME, description="as shown on the page")]


class Folder(_Section):
    """A directory of Part 10 files: a USB stick, a network share."""

    name: Name
    kind: Literal["folder"]
    path: WholePath = Field(description="an existing directory on the stick or share")
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
    password_file: WholePath | None = Field(default=None, description="holds the password alone")
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

    study_closes_after_s: Seconds = Field(
        default=600.0, description="quiet seconds after which a reviewed study is closed"
    )


class Upstream(_Section):
    """How corrections are made nameless before they leave for the central archive."""

    key_file: WholePath | None = Field(
        default=None, description="32 random bytes; empty: upstream.key in state_dir, made once"
    )
    site: ShortString = Field(default="", description="name of the site in corrections")


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
    if text.startswith("\ufeff"):
        return None, ["line 1: it begins with a byte order mark (BOM). Save it as plain UTF-8"]
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [f"it isn't valid TOML: {error}"]
    try:
        return Settings.model_validate(values), []
    except ValidationError as error:
        problems = error.errors(include_url=False)
        return None, [_explain(text, values, dict(problem)) for problem in problems]


def line_of(text: str, location: Location) -> int | None:
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


def called(location: Location, values: Mapping[str, Any]) -> str:
    """Return what a person calls a setting: a destination by its name, or counted from 1.

    Parameters
    ----------
    location
        Keys from the top, as pydantic gives them.
    values
        The whole file.
    """
    parts = [str(part) for part in location]
    if len(location) > 1 and isinstance(location[1], int):
        parts[1] = str(location[1] + 1)
        table = values[parts[0]][location[1]]
        name = table.get("name") if isinstance(table, dict) else None
        if isinstance(name, str) and re.fullmatch(_NAME, name):
            parts[1] = name
    return ".".join(parts)


def _explain(text: str, values: dict[str, Any], problem: dict[str, Any]) -> str:
    location = _without_tag(tuple(problem["loc"]))
    if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
        location = (*location, "kind")
    name = called(location, values)
    line = line_of(text, location)
    where = f"line {line}: " if line else ""
    if problem["type"] == "extra_forbidden":
        return f"{where}{name} is not a setting. {_did_you_mean(tuple(problem['loc']))}"
    if problem["type"] == "union_tag_not_found":
        return f"{where or 'the file: '}{name} is missing: {_one_kind_of()}"
    if problem["type"] == "union_tag_invalid":
        return f"{where}{name}: {_one_kind_of(str(problem['input'].get('kind')))}"
    if problem["type"] == "missing" and location == ("box",):
        return (
            'the file: [box] with ae_title is missing. Add the two lines [box] and ae_title = "…"'
        )
    if problem["type"] == "missing":
        return f"{where or 'the file: '}{name} is missing. Add it; it has no default"
    return f"{where}{name}: {_words(location, problem)}{_given(problem)}"


def _words(location: Location, problem: dict[str, Any]) -> str:
    """Say what is wrong in our words; pydantic's speak of Python."""
    kind = problem["type"]
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    if len(location) == 1 or (isinstance(location[-1], int) and len(location) == 2):
        section = str(location[0])
        header = f"[[{section}]]" if section == "destination" else f"[{section}]"
        return f"must be a table that begins with the line {header}"
    return _PLAIN_WORDS.get(kind, "can't be used here").format(**problem.get("ctx", {}))


_PLAIN_WORDS = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "string_type": "must be text in quotation marks",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a number of finite size",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "path_type": "must be a path in quotation marks",
    "string_pattern_mismatch": "must be 1 to 32 letters, digits, - or _",
    "tuple_type": 'must be a list, as in ["results"]',
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


def _given(problem: dict[str, Any]) -> str:
    given = problem["input"]
    # A whole table is no help; an address with "@" may hold a password.
    hidden = isinstance(given, dict | list | BaseModel) or "@" in str(given)
    return "" if hidden else f" (now {given!r})"


def _without_tag(location: Location) -> Location:
    """Drop the kind of destination that pydantic puts behind its index."""
    tagged = location[0] == "destination" and len(location) > 2
    return (*location[:2], *location[3:]) if tagged else location


def _one_kind_of(given: str = "") -> str:
    close = get_close_matches(given, KINDS, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    now = f" (now {given!r})" if given else ""
    return f"must be one of {', '.join(KINDS)}{now}.{guess}"


def _did_you_mean(location: Location) -> str:
    model: Any = Settings
    if location[0] == "destination" and len(location) > 2:
        model = KINDS[str(location[2])]
    elif len(location) > 1:
        model = Settings.model_fields[str(location[0])].annotation
    known = list(model.model_fields)
    close = get_close_matches(str(location[-1]), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Settings here: {', '.join(known)}"

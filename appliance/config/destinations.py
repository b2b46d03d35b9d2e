"""Where objects go: each kind of destination, and how it wants to be served."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from appliance.config.values import (
    AETitle,
    Name,
    Port,
    Seconds,
    Section,
    Whole,
    WholePath,
    not_a_truth,
)
from appliance.hours import Window

Wish = Literal["originals", "results", "overlay", "fhir", "corrections"]
Gets = Annotated[
    tuple[Wish, ...], Field(min_length=1, description="what it is sent; originals at once")
]


def _window(value: str) -> str:
    Window.parse(value)
    return value


AtOnce = Annotated[Whole, Field(ge=1, le=16, description="objects under way at the same time")]
Hours = Annotated[
    tuple[Annotated[str, AfterValidator(_window)], ...],
    Field(description='when it is served, as in ["22:00-06:00"]; empty: always'),
]
Rate = Annotated[
    float,
    BeforeValidator(not_a_truth),
    Field(ge=0, allow_inf_nan=False, description="most that is sent there, Mbit/s; 0: no limit"),
]
Proof = Annotated[
    Literal["auto", "read-back", "commitment"],
    Field(description="how it proves an object; auto: by C-GET, else by storage commitment"),
]


def _dicom_alone(value: tuple[Wish, ...]) -> tuple[Wish, ...]:
    if "fhir" in value:
        raise ValueError("'fhir' goes to a folder, or to a destination of the kind fhir")
    return value


SegType = Annotated[
    Literal["BINARY", "LABELMAP"],
    Field(description="segmentations as bit planes, or as label maps (a younger SOP class)"),
]
SegSyntax = Annotated[
    Literal["explicit", "deflated", "rle"],
    Field(description="their transfer syntax; rle is for label maps only"),
]
SegFrames = Annotated[
    Literal["all", "ed-es"], Field(description="their frames; ed-es: end-diastole and -systole")
]
SegObjects = Annotated[
    Literal["one", "each"], Field(description="one object, or one for each structure")
]


class _GetsSegmentations(Section):
    """What the settings of a segmentation's form must fulfil."""

    @model_validator(mode="after")
    def _its_form_can_be(self) -> "_GetsSegmentations":
        given = {name for name in self.model_fields_set if name.startswith("seg_")}
        if given and "results" not in getattr(self, "gets", ()):
            raise ValueError(f"{min(given)} is about results, which this destination doesn't get")
        chosen = getattr(self, "seg_type", "BINARY"), getattr(self, "seg_syntax", "explicit")
        if chosen == ("BINARY", "rle"):
            raise ValueError(
                "RLE packs whole bytes, and BINARY segmentations have one bit a pixel (PS3.5"
                ' 8.2.2): take seg_syntax = "deflated", or seg_type = "LABELMAP"'
            )
        return self


DicomGets = Annotated[Gets, AfterValidator(_dicom_alone)]


def _plain_address(value: str) -> str:
    """Secrets in an address would come back in every message that names it."""
    if "@" in value:
        raise ValueError("name the user in `user`, the password in `password_file`")
    if not re.fullmatch(r"https?://[A-Za-z0-9._-]+(:\d{1,5})?(/[\w./~-]*)?", value):
        raise ValueError("must be like https://archive.example.org/dicom-web")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_plain_address)]


class Folder(_GetsSegmentations):
    """A directory of Part 10 files, and FHIR bundles: a USB stick, a network share."""

    name: Name
    kind: Literal["folder"]
    path: WholePath = Field(description="an existing directory on the stick or share")
    gets: Gets = ("results",)
    fhir: Literal["R5", "R4B"] = Field(default="R5", description="release of its FHIR bundles")
    seg_type: SegType = "BINARY"
    seg_syntax: SegSyntax = "explicit"
    seg_frames: SegFrames = "all"
    seg_objects: SegObjects = "one"
    at_once: AtOnce = 1
    hours: Hours = ()
    mbit_per_s: Rate = 0.0


class DicomPeer(_GetsSegmentations):
    """A PACS or another Storage SCP."""

    name: Name
    kind: Literal["dicom"]
    host: str = Field(min_length=1, description="its address")
    port: Port
    called_ae: AETitle = Field(description="its AE title; ours is box.ae_title")
    gets: DicomGets = ("results",)
    tls: bool = Field(default=False, description="DICOM over TLS, with the certificates of [scp]")
    proof: Proof = "auto"
    commit_ae: AETitle | None = Field(
        default=None, description="its title for storage commitment; else called_ae"
    )
    commit_host: str = Field(default="", description="where commitment is asked; empty: host")
    commit_port: Port | None = Field(default=None, description="else port")
    commit_within_s: Seconds = Field(
        default=600.0, ge=1, description="seconds after which commitment is asked for anew"
    )
    seg_type: SegType = "BINARY"
    seg_syntax: SegSyntax = "explicit"
    seg_frames: SegFrames = "all"
    seg_objects: SegObjects = "one"
    at_once: AtOnce = 1
    hours: Hours = ()
    mbit_per_s: Rate = 0.0


class DicomWebPeer(_GetsSegmentations):
    """A DICOMweb server: the central archive of corrections, or a PACS."""

    name: Name
    kind: Literal["dicomweb"]
    url: Address = Field(description="base of STOW-RS, QIDO-RS and WADO-RS")
    user: str = Field(default="", description="for HTTP basic authentication")
    password_file: WholePath | None = Field(default=None, description="holds the password alone")
    gets: DicomGets = ("corrections",)
    seg_type: SegType = "BINARY"
    seg_syntax: SegSyntax = "explicit"
    seg_frames: SegFrames = "all"
    seg_objects: SegObjects = "one"
    at_once: AtOnce = 1
    hours: Hours = ()
    mbit_per_s: Rate = 0.0

    @model_validator(mode="after")
    def _user_and_password_come_together(self) -> "DicomWebPeer":
        if bool(self.user) != bool(self.password_file):
            raise ValueError("`user` and `password_file` come together")
        return self


class FhirPeer(Section):
    """A FHIR server, which gets bundles of results as transactions."""

    name: Name
    kind: Literal["fhir"]
    url: Address = Field(description="its base, where transactions are posted")
    user: str = Field(default="", description="for HTTP basic authentication")
    password_file: WholePath | None = Field(default=None, description="holds the password alone")
    token_file: WholePath | None = Field(default=None, description="holds a bearer token alone")
    ca_file: WholePath | None = Field(
        default=None, description="who signs its certificate, PEM; else the system's authorities"
    )
    answers_within_s: Seconds = Field(
        default=60.0, ge=1, le=120, description="seconds that it may take to answer"
    )
    gets: tuple[Literal["fhir"], ...] = Field(
        default=("fhir",), min_length=1, description="bundles; nothing else goes there"
    )
    fhir: Literal["R5", "R4B"] = Field(default="R5", description="its release of FHIR")
    at_once: Whole = Field(default=1, ge=1, le=4, description="bundles under way at the same time")
    hours: Hours = ()
    mbit_per_s: Rate = 0.0

    @model_validator(mode="after")
    def _one_secret(self) -> "FhirPeer":
        if bool(self.user) != bool(self.password_file):
            raise ValueError("`user` and `password_file` come together")
        if self.password_file and self.token_file:
            raise ValueError("give `password_file` or `token_file`, not both")
        if self.token_file and not re.match(r"https:|http://(127\.0\.0\.1|localhost)\b", self.url):
            raise ValueError("a token goes over https only (RFC 6750 5.3)")
        return self


KINDS = {"folder": Folder, "dicom": DicomPeer, "dicomweb": DicomWebPeer, "fhir": FhirPeer}
Destination = Annotated[Folder | DicomPeer | DicomWebPeer | FhirPeer, Field(discriminator="kind")]

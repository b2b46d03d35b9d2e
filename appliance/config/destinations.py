"""Where objects go: each kind of destination, and how it wants to be served."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

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
        raise ValueError("'fhir' goes to a folder, where an interface engine takes it")
    return value


DicomGets = Annotated[Gets, AfterValidator(_dicom_alone)]


class Folder(Section):
    """A directory of Part 10 files, and FHIR bundles: a USB stick, a network share."""

    name: Name
    kind: Literal["folder"]
    path: WholePath = Field(description="an existing directory on the stick or share")
    gets: Gets = ("results",)
    fhir: Literal["R5", "R4B"] = Field(default="R5", description="release of its FHIR bundles")
    at_once: AtOnce = 1
    hours: Hours = ()
    mbit_per_s: Rate = 0.0


class DicomPeer(Section):
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
    at_once: AtOnce = 1
    hours: Hours = ()
    mbit_per_s: Rate = 0.0


class DicomWebPeer(Section):
    """A DICOMweb server: the central archive of corrections, or a PACS."""

    name: Name
    kind: Literal["dicomweb"]
    url: str = Field(description="base of STOW-RS, QIDO-RS and WADO-RS")
    user: str = Field(default="", description="for HTTP basic authentication")
    password_file: WholePath | None = Field(default=None, description="holds the password alone")
    gets: DicomGets = ("corrections",)
    at_once: AtOnce = 1
    hours: Hours = ()
    mbit_per_s: Rate = 0.0

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

"""Every setting of the box: its type, its default, its limits."""

from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from appliance.config.destinations import Destination, DicomPeer
from appliance.config.values import (
    MINISIGN,
    WEB,
    Address,
    AETitle,
    HostName,
    Name,
    Port,
    Seconds,
    Section,
    ShortString,
    Whole,
    WholePath,
    not_a_truth,
)

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Box(Section):
    """What the box is called and where it keeps everything."""

    ae_title: AETitle = Field(description="AE title of this box, as entered on the echo machines")
    state_dir: WholePath = Field(default=Path("/var/lib/echocart"), description="ledger and images")
    station_name: ShortString = Field(default="Echocart", description="StationName in results")


class Scp(Section):
    """How echo machines reach the box."""

    host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104
    port: Port = Field(default=11112, description="DICOM port")
    maximum_pdu: Whole = Field(default=131072, ge=4096, le=1 << 20, description="bytes, both ways")
    maximum_associations: Whole = Field(default=50, ge=1, le=500, description="at the same time")
    associations_of_an_address: Whole = Field(
        default=30,
        ge=1,
        le=500,
        description="of them, from one IP address: a router has many carts",
    )
    associations_of_a_cart: Whole = Field(
        default=20, ge=1, le=500, description="of them, from one AE title at one address"
    )
    space_floor_mb: Whole = Field(
        default=500, ge=0, description="below it, images are refused (A700)"
    )
    space_ceiling_mb: Whole = Field(
        default=0,
        ge=0,
        description="above it, images that an archive has proven are removed; 0: the whole disk",
    )
    receive_path: Literal["pump", "stock"] = Field(
        default="pump", description="how data is read: stock is pynetdicom's own, slower"
    )
    also_called: tuple[AETitle, ...] = Field(
        default=(), description='further AE titles of this box; "*" answers to any'
    )
    archive: bool = Field(
        default=False, description="commit to keep objects although nothing forwards them"
    )
    tls_port: Port | None = Field(default=None, description="DICOM over TLS, beside the plain port")
    tls_certificate: WholePath | None = Field(default=None, description="of this box, PEM")
    tls_key: WholePath | None = Field(default=None, description="its private key, PEM")
    tls_ca: WholePath | None = Field(default=None, description="who signs carts' certificates, PEM")

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "Scp":
        given = (self.tls_port, self.tls_certificate, self.tls_key, self.tls_ca)
        if any(given) and not all(given):
            raise ValueError("tls_port, tls_certificate, tls_key and tls_ca come together")
        if self.tls_port == self.port:
            raise ValueError("port and tls_port must differ")
        return self


class Engine(Section):
    """What draws the heart."""

    backend: Literal["auto", "openvino", "onnxruntime", "tensorrt"] = "auto"
    precision: Literal["auto", "f32", "bf16", "f16", "int8"] = "auto"
    threads: Whole = Field(default=0, ge=0, le=256, description="0 takes all cores")
    model: str = Field(default="", description="name of a released model; empty takes the default")
    beside: tuple[str, ...] = Field(
        default=(), description="further models, asked in this order for what the first refuses"
    )
    cuda_graph: bool = Field(
        default=False, description="launch a frame's work on the GPU as one CUDA graph"
    )
    smoothing: Literal["off", "vote"] = Field(
        default="off", description="vote: each pixel as two of three neighbouring frames say"
    )


class Webui(Section):
    """Where the review page is."""

    port: Port = Field(default=8080, description="HTTP port; HTTPS with a certificate")
    names: tuple[HostName, ...] = Field(
        default=(), description="host names and IP addresses that tablets reach it by"
    )
    tls_certificate: WholePath | None = Field(default=None, description="of this box, PEM")
    tls_key: WholePath | None = Field(default=None, description="its private key, PEM")
    lock_after_s: Seconds = Field(
        default=600.0, ge=1, description="seconds without a touch until the page locks"
    )
    language: str = Field(
        default="", description="language of the page, as de; empty: what each browser asks for"
    )
    locale_dir: WholePath | None = Field(
        default=None, description="a site's own translations, LANG/LC_MESSAGES/echocart.mo"
    )
    # Behind the others, so that what is wrong with it is told at its own line.
    host: str = Field(default="127.0.0.1", description="address to listen on")

    @field_validator("host")
    @classmethod
    def _is_safe_there(cls, value: str, info: ValidationInfo) -> str:
        if value not in _LOOPBACK and not info.data.get("tls_certificate"):
            raise ValueError(
                "the page shows patients: beyond 127.0.0.1 it needs tls_certificate and tls_key"
                " (`echocart tls init` makes them)"
            )
        if value not in _LOOPBACK and not info.data.get("names"):
            raise ValueError(
                "beyond 127.0.0.1, names must list what tablets reach the page by, as in"
                ' ["echocart.example.org"]'
            )
        return value

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "Webui":
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key come together")
        return self

    @property
    def url(self) -> str:
        """Where a browser finds the page, without a path."""
        name = self.names[0] if self.names else self.host
        bracketed = f"[{name}]" if ":" in name else name
        return f"{'https' if self.tls_certificate else 'http'}://{bracketed}:{self.port}"

    @property
    def trusted_hosts(self) -> list[str]:
        """What Host may say: any other name is a DNS rebinding attack."""
        names = ["localhost", "127.0.0.1", "::1", *self.names]
        return [f"[{name}]" if ":" in name else name for name in names]


class Cart(Section):
    """An echo machine that may send; once there is one, nobody else may."""

    name: Name
    calling_ae: AETitle = Field(description="how it calls itself")
    address: Address = Field(default="", description="its IP address or network; empty: any")
    tls: bool = Field(default=False, description="must use the TLS port; reports go by TLS too")
    commit_ae: AETitle | None = Field(
        default=None, description="its title for storage commitment; else calling_ae"
    )
    commit_host: str = Field(default="", description="where reports go; empty: where it asked from")
    commit_port: Port | None = Field(default=None, description="port that takes the reports")
    same_association: bool = Field(
        default=False, description="try the association that asked for the report first"
    )


class Sync(Section):
    """When results leave."""

    study_closes_after_s: Seconds = Field(
        default=600.0,
        description="seconds without arrivals or decisions after which a reviewed study is closed",
    )


class Upstream(Section):
    """How corrections are made nameless before they leave for the central archive."""

    key_file: WholePath | None = Field(
        default=None,
        description="32 random bytes; empty: secret/upstream.key in state_dir, made once",
    )
    site: ShortString = Field(default="", description="name of the site in corrections")
    dates: Literal["year", "shifted"] = Field(
        default="year", description="year of the review; or dates moved by a secret number of days"
    )
    device_identity: bool = Field(
        default=False, description="tell the echo machine's serial number in corrections"
    )
    accepted_share: float = Field(
        default=0.0, ge=0, le=1, description="part of the accepted loops sent too, 0 to 1"
    )

    @field_validator("accepted_share", mode="before")
    @classmethod
    def _is_a_number(cls, value: object) -> object:
        return not_a_truth(value)

    def takes(self, decision: str, SOPInstanceUID: str) -> bool:
        """Tell whether a decision goes upstream: each correction, and a draw of what is accepted.

        The draw rests on the loop's UID alone, so that a restart or another decision doesn't
        change it.
        """
        drawn = int.from_bytes(sha256(SOPInstanceUID.encode()).digest()[:8], "big") / 2**64
        return decision == "corrected" or (decision == "accepted" and drawn < self.accepted_share)


class Updates(Section):
    """Where released models come from; without a url none is fetched."""

    url: str | None = Field(
        default=None, pattern=WEB, description="of the central team's repository"
    )
    root: WholePath | None = Field(
        default=None, description="its 1.root.json: whose signatures count"
    )
    every_h: Whole = Field(default=24, ge=1, description="hours between two looks")
    usb_key: str | None = Field(
        default=None,
        pattern=MINISIGN,
        description="minisign public key: whose models on a USB stick count",
    )
    promote: Literal["figures", "person"] = Field(
        default="figures",
        description="what lets a candidate draw: its figures in the shadow, or a person only",
    )

    @model_validator(mode="after")
    def _root_is_known(self) -> "Updates":
        if (self.url is None) != (self.root is None):
            raise ValueError("url and root come together: nothing is believed without a root")
        return self


class Settings(Section):
    """Everything a site may set; only `box.ae_title` has no default."""

    box: Box
    scp: Scp = Scp()
    engine: Engine = Engine()
    webui: Webui = Webui()
    sync: Sync = Sync()
    upstream: Upstream = Upstream()
    updates: Updates = Updates()
    cart: tuple[Cart, ...] = ()
    destination: tuple[Destination, ...] = ()

    @field_validator("destination")
    @classmethod
    def _names_differ(
        cls, value: tuple[Destination, ...], info: ValidationInfo
    ) -> tuple[Destination, ...]:
        names = [item.name for item in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two destinations are called {name!r}")
        scp = info.data.get("scp")  # absent when it has a mistake of its own
        secure = [item.name for item in value if isinstance(item, DicomPeer) and item.tls]
        if scp and secure and not scp.tls_ca:
            first = "leave tls = true away until `echocart tls init` has made the certificates"
            words = f"{secure[0]!r} is to use TLS, but scp.tls_ca is not set: {first}"
            raise ValueError(words)
        return value

    @field_validator("cart")
    @classmethod
    def _carts_differ(cls, value: tuple[Cart, ...], info: ValidationInfo) -> tuple[Cart, ...]:
        names = [item.name for item in value]
        keys = [(item.calling_ae, item.address) for item in value]
        for name, key in zip(names, keys, strict=True):
            if names.count(name) > 1:
                raise ValueError(f"two carts are called {name!r}")
            if keys.count(key) > 1:
                raise ValueError(f"{key[0]!r} is there twice with the same address")
        scp = info.data.get("scp")  # absent when it has a mistake of its own
        if scp and not scp.tls_port and any(item.tls for item in value):
            raise ValueError("a cart must use TLS, but scp.tls_port is not set")
        return value

    @property
    def originals(self) -> tuple[str, ...]:
        """Names of the destinations that get every object byte for byte."""
        return tuple(item.name for item in self.destination if "originals" in item.gets)

    @property
    def commits(self) -> bool:
        """Whether carts may be told that they can delete what they sent (PS3.4 Annex J)."""
        return self.scp.archive or bool(self.originals)

    def wanted(self, decision: str, SOPInstanceUID: str = "") -> list[tuple[str, str]]:
        """Return (destination, kind) of each object that a decision about a loop sends."""
        upstream = self.upstream.takes(decision, SOPInstanceUID)
        kinds = {
            "results": ("seg", "sr"),
            "overlay": ("overlay",),
            "fhir": ("fhir",),
            "corrections": ("correction",),
        }
        return [
            (item.name, kind)
            for item in self.destination
            for wish, sent in kinds.items()
            if wish in item.gets and (wish != "corrections" or upstream)
            for kind in sent
        ]

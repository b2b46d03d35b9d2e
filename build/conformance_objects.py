"""Tables of the conformance statement about objects, codes, DICOMweb, TLS and settings."""

import json
import re
import ssl
from collections.abc import Callable, Iterator
from typing import Any

from conformance_table import named, table
from flask import Flask
from pydicom.sr.codedict import codes as known_codes
from pydicom.uid import UID

from appliance import tls
from appliance.cine import decode, video
from appliance.config import Settings
from appliance.config.destinations import KINDS
from appliance.config.settings import Cart
from appliance.sync import authored, codes, deidentify, form, modules, record
from appliance.webui import access, dicomweb, dicomweb_accept

Line = tuple[str, str, str]
_VIDEO = [f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109)]


def _objects() -> str:
    kinds: tuple[tuple[str, Any, str], ...] = (
        ("segmentation, bit planes", modules.SEGMENTATION, _segmentation_syntaxes("BINARY")),
        ("segmentation, label map", modules.LABEL_MAP, _segmentation_syntaxes("LABELMAP")),
        ("report", modules.REPORT, ""),
        ("overlay", modules.OVERLAY, ""),
        ("rejection note", modules.KEY_OBJECTS, ""),
        ("loop of a correction", authored.LOOP, ""),
    )
    return table(
        ["object", "SOP class", "UID", "Modality", "Series Number", "transfer syntax"],
        (
            (
                words,
                *named(kind.SOPClassUID),
                kind.Modality,
                kind.SeriesNumber,
                syntaxes or UID(kind.TransferSyntaxUID).name,
            )
            for words, kind, syntaxes in kinds
        ),
    )


def _segmentation_syntaxes(kind: str) -> str:
    # RLE packs whole bytes: config refuses it for bit planes.
    names = [name for name in form._SYNTAXES if (kind, name) != ("BINARY", "rle")]
    return ", ".join(form._SYNTAXES[name].name for name in names)


def _syntaxes() -> str:
    rows = [(*named(uid), "yes") for uid in sorted(decode.SYNTAXES)]
    rows += [(*named(uid), "with the extra `video`") for uid in _VIDEO if video.is_video(UID(uid))]
    return table(["transfer syntax", "UID", "analysed"], sorted(rows, key=lambda row: str(row[1])))


def _codes() -> str:
    named = (*vars(codes).values(), *vars(record).values())
    found = {code for code in named if isinstance(code, codes.Code)}
    found |= {*codes.VIEWS.values(), *record.DECISIONS.values()}
    return table(["code", "scheme", "meaning"], sorted(found, key=lambda code: (code[1], code[0])))


def _profile() -> str:
    used = (
        (deidentify.PROFILE, "always"),
        (deidentify.CLEAN_PIXELS, "always"),
        (deidentify.MODIFIED_DATES, '`upstream.dates = "shifted"`'),
        (deidentify.DEVICE_IDENTITY, "`upstream.device_identity = true`"),
    )
    assert {code for code, _ in used} <= {
        code for code in vars(deidentify).values() if isinstance(code, codes.Code)
    }
    assert known_codes.DCM.BasicApplicationConfidentialityProfile.value == deidentify.PROFILE.value
    return table(
        ["code", "meaning", "when"], ((code.value, code.meaning, when) for code, when in used)
    )


def _dicomweb() -> str:
    app = Flask(__name__)
    app.register_blueprint(dicomweb.blueprint)
    rows = sorted(
        (rule.rule, rule.endpoint)
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("dicomweb.")
    )
    services = {
        "dicomweb.find": "Search (QIDO-RS)",
        "dicomweb.describe": "Retrieve (WADO-RS), metadata",
        "dicomweb.retrieve": "Retrieve (WADO-RS), objects",
        "dicomweb.frames": "Retrieve (WADO-RS), frames",
        "dicomweb.rendered": "Retrieve (WADO-RS), rendered",
        "dicomweb.bulk": "Retrieve (WADO-RS), bulk data",
    }
    return table(
        ["resource", "transaction", "who"],
        (
            (
                _address(path),
                services[endpoint],
                ", ".join(sorted(access.RULES[endpoint])),
            )
            for path, endpoint in rows
        ),
    )


def _address(rule: str) -> str:
    return "`" + re.sub(r"<(?:path:)?([a-z]+)>", r"{\1}", rule) + "`"


def _media_types() -> str:
    rows = [(*named(syntax), f"`{kind}`") for syntax, kind in dicomweb_accept._MEDIA.items()]
    return table(["transfer syntax", "UID", "media type of its frames"], rows)


def _suites() -> str:
    context = tls._strict(ssl.PROTOCOL_TLS_CLIENT)
    suites = [item for item in context.get_ciphers() if item["protocol"] == "TLSv1.2"]
    return table(
        ["suite of TLS 1.2, as OpenSSL calls it"], sorted([item["name"]] for item in suites)
    )


def _settings() -> str:
    return table(["setting", "default", "what it is"], _fields(Settings, ""))


def _fields(section: Any, prefix: str) -> Iterator[Line]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and hasattr(kind, "model_fields"):
            yield from _fields(kind, f"{prefix}{name}.")
        elif not prefix and name in ("cart", "destination"):
            yield from _of_list(name)
        else:
            yield _field(f"{prefix}{name}", field)


def _of_list(name: str) -> Iterator[Line]:
    kinds: dict[str, Any] = {"": Cart} if name == "cart" else KINDS
    having: dict[Line, list[str]] = {}
    for kind, section in kinds.items():
        for key, field in section.model_fields.items():
            line = _field(f"[[{name}]] {key}", field)
            if key == "kind":
                line = line[0], "", ", ".join(KINDS)
            having.setdefault(line, []).append(kind)
    for (shown, default, words), found in having.items():
        of = "" if len(found) == len(kinds) else f" ({', '.join(found)})"
        yield f"{shown}{of}", default, words


def _field(name: str, field: Any) -> Line:
    default = "" if field.is_required() else _written(field.default)
    return f"`{name}`", default, field.description or ""


def _written(value: object) -> str:
    if value in (None, "", ()):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


TABLES: dict[str, Callable[[], str]] = {
    "objects": _objects,
    "syntaxes": _syntaxes,
    "codes": _codes,
    "profile": _profile,
    "dicomweb": _dicomweb,
    "media-types": _media_types,
    "suites": _suites,
    "settings": _settings,
}

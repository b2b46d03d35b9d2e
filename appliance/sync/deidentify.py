"""The identity map: what patients, studies and objects are called outside, for whoever lacks the key.

Names are HMAC-SHA256 under a key that never leaves the box: the same patient has the same name
in every correction of this box, and without the key no name can be traced back or tried out.
Nothing is stored: losing the key only means new names from then on. Of dates the year of the review
is told; where the site retains longitudinal information, dates are shifted by a number of days that
follows from the key and the patient.

The key lies in a folder of its own that bears a CACHEDIR.TAG, so that an ordinary back-up of the
state directory made with `tar --exclude-caches-all` (or what borg and restic call the same) leaves
it out: who finds the back-up and the archive must not be able to join them.
"""

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from appliance.config import Settings
from appliance.errors import DeliveryError
from appliance.sync import codes
from appliance.sync.codes import Code
from appliance.sync.encode import Item

KEY_SIZE = 32  # bytes: as many as the hash gives
PATIENT_ID_DIGITS = 24  # hexadecimal: 96 bits never meet by chance
METHOD = "Echocart: authored from an allow-list; pixels outside the fan blanked"
PROFILE = Code("113100", "DCM", "Basic Application Confidentiality Profile")  # CID 7050
CLEAN_PIXELS = Code("113101", "DCM", "Clean Pixel Data Option")  # CID 7050
MODIFIED_DATES = Code(  # CID 7050
    "113107", "DCM", "Retain Longitudinal Temporal Information Modified Dates Option"
)
DEVICE_IDENTITY = Code("113109", "DCM", "Retain Device Identity Option")  # CID 7050
OTHER_MANUFACTURER = "Other"
# https://bford.info/cachedir: what back-up programs know as a sign to leave a folder out.
_CACHEDIR_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Keep a copy of the key elsewhere.\n"
KEY_FOLDER = "secret"  # under the state directory
_LONGEST_SHIFT = 365  # days, into the past: no date lies in the future
_MOST_VERSIONS = 4
_VERSION = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){1,3}(?![\w.])")
_MAY_BE_A_DATE = re.compile(r"\d{1,2}\.\d{1,2}\.\d{2}")
_SERIAL_NUMBER = re.compile(r"(?=(?:[^0-9]*[0-9]){3})(?!(?:[^A-Z]*[A-Z]){5})[A-Z0-9-]{4,20}")

# What an object may say about the machine, written anew from this table: a person may have typed
# anything into the elements themselves. Model names are families followed by a short number.
_MACHINES = (
    ("GE", r"\bG\.?E\b|GE ?MED|GE HEALTH|VINGMED", r"Vivid|LOGIQ|Voluson|Venue|Vscan"),
    ("Philips", r"PHILIPS|\bATL\b", r"EPIQ|Affiniti|iE|CX|HD|Sparq|Lumify|SONOS|CVx"),
    ("Siemens", r"SIEMENS|ACUSON", r"SC2000|Sequoia|Juniper|Origin|CV70|Cypress"),
    ("Canon", r"CANON|TOSHIBA", r"Aplio|Xario|Artida|Viamo"),
    ("SonoSite", r"SONOSITE", r"M-Turbo|Edge|MicroMaxx|X-Porte|PX|LX|SII|iViz|TITAN"),
    ("Mindray", r"MINDRAY", r"Resona|DC|TE|MX|ME"),
    ("Samsung", r"SAMSUNG|MEDISON", r"RS|HS|HM|EKO|UGEO|Accuvix"),
    ("Esaote", r"ESAOTE", r"MyLab"),
    ("Fujifilm", r"HITACHI|ALOKA|FUJIFILM", r"ARIETTA|LISENDO|ProSound|SSD"),
    ("Hewlett-Packard", r"HEWLETT|AGILENT", r"SONOS"),
    ("Butterfly", r"BUTTERFLY", r"iQ"),
)
_NUMBER = r"(?: ?-?[A-Z]{0,2}[0-9]{1,4}[A-Z]{0,2})?(?![A-Za-z0-9])"


@dataclass(frozen=True)
class Options:
    """What of PS3.15's options (E.3.6, E.3.8) a site has chosen.

    Attributes
    ----------
    dates
        Retain Longitudinal Temporal Information with Modified Dates.
    device
        Retain Device Identity.
    """

    dates: bool = False
    device: bool = False


class IdentityMap:
    """Names for the outside, from a key.

    Parameters
    ----------
    key
        32 random bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise _unusable(f"it doesn't hold {KEY_SIZE} bytes")
        self._key = key

    def uid(self, uid: str, purpose: str = "") -> str:
        """Return the UID that stands for another: 2.25 and 122 bits of its HMAC (PS3.5 B.2).

        Parameters
        ----------
        uid
            A UID of the box or of a source.
        purpose
            Tells several apart that follow from the same one.
        """
        bits = int.from_bytes(self._hash("uid", uid, purpose)[:16], "big")
        bits = bits & ~(0xF << 76) | 8 << 76  # a version 8 UUID, RFC 9562 5.8
        bits = bits & ~(3 << 62) | 2 << 62
        return f"2.25.{bits}"

    def patient(self, PatientID: str, StudyInstanceUID: str) -> str:
        """Return the PatientID for the outside.

        A loop without PatientID is named after its study: two unknown people are two.
        """
        who = ("id", PatientID) if PatientID else ("study", StudyInstanceUID)
        return self._hash("patient", *who).hex()[:PATIENT_ID_DIGITS].upper()

    def shift(self, PatientID: str, StudyInstanceUID: str) -> timedelta:
        """Return by how much a patient's dates are moved: 1 to 365 days into the past.

        The same for every date of a patient, so that what lies between them stays true.
        """
        who = ("id", PatientID) if PatientID else ("study", StudyInstanceUID)
        number = int.from_bytes(self._hash("days", *who)[:8], "big")
        return timedelta(days=-1 - number % _LONGEST_SHIFT)

    def _hash(self, *parts: str) -> bytes:
        return hmac.new(self._key, "\0".join(parts).encode(), hashlib.sha256).digest()


class Machine(NamedTuple):
    """Make and model of an echo machine, in the words of a fixed table."""

    Manufacturer: str
    ManufacturerModelName: str


def machine(Manufacturer: str, ManufacturerModelName: str) -> Machine:
    """Return what may be told of a machine; "Other" and no model where the table has none.

    Retained because pictures differ by make and model, and a fleet of thousands shares each. The
    serial number, the station and the institution are not.
    """
    for name, make, families in _MACHINES:
        if re.search(make, Manufacturer, re.IGNORECASE):
            model = re.search(rf"(?<![A-Za-z0-9])(?:{families}){_NUMBER}", ManufacturerModelName)
            return Machine(name, model.group() if model else "")
    return Machine(OTHER_MANUFACTURER, "")


def versions(written: str) -> list[str]:
    """Return version numbers in what a machine says of its software: digits and dots, no words.

    What could be a date, as 02.04.61, is none.
    """
    found = [item for item in _VERSION.findall(written) if not _MAY_BE_A_DATE.fullmatch(item)]
    return list(dict.fromkeys(found))[:_MOST_VERSIONS]


def serial_number(written: str) -> str:
    """Return a serial number that looks like one, else "".

    At least three digits and at most four capital letters: no name, and no sentence.
    """
    clean = written.strip()
    return clean if _SERIAL_NUMBER.fullmatch(clean) else ""


def shifted(DA: str, by: timedelta) -> str:
    """Return a date moved, "" for what is none (PS3.5 6.2)."""
    try:
        moved: date = datetime.strptime(DA.strip(), "%Y%m%d").date() + by
    except (ValueError, OverflowError):
        return ""
    return moved.strftime("%Y%m%d")


def statement(options: Options) -> Item:
    """Return what an object says about its de-identification (PS3.3 C.7.1.1, C.12.1.1.8)."""
    dataset = Item()
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD.split("; ")
    chosen = ((MODIFIED_DATES, options.dates), (DEVICE_IDENTITY, options.device))
    used = [PROFILE, CLEAN_PIXELS, *(code for code, is_used in chosen if is_used)]
    dataset.DeidentificationMethodCodeSequence = [codes.item(code) for code in used]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"  # cut to years, or shifted
    return dataset


def options_of(settings: Settings) -> Options:
    """Return the options that a site has chosen."""
    chosen = settings.upstream
    return Options(chosen.dates == "shifted", chosen.device_identity)


def identity_map(settings: Settings) -> IdentityMap:
    """Return the identity map of this box; its key is made the first time.

    Raises
    ------
    DeliveryError
        When the key can't be read or made, isn't one, or everybody on the box may read it. A key
        file that the site named is never made: a missing one would silently rename everybody.
    """
    path = key_path(settings)
    try:
        if settings.upstream.key_file is None and not path.exists():
            _make(path)
        if path.stat().st_mode & 0o007:
            raise _unusable("everybody on this box may read it (chmod 600 mends that)")
        return IdentityMap(path.read_bytes())
    except OSError as error:
        raise _unusable(f"errno {error.errno}", retry=True) from None


def key_path(settings: Settings) -> Path:
    """Return where the key is, or will be; a key from before there was a folder for it stays."""
    earlier = settings.box.state_dir / "upstream.key"
    if settings.upstream.key_file or earlier.exists():
        return settings.upstream.key_file or earlier
    return settings.box.state_dir / KEY_FOLDER / earlier.name


def _make(path: Path) -> None:
    """Make the key once, durably: half a key, or two, must never be used."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    (path.parent / "CACHEDIR.TAG").write_text(_CACHEDIR_TAG, encoding="ascii")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(KEY_SIZE))
            stream.flush()
            os.fsync(stream.fileno())
        # Linked, not renamed: whoever comes second takes the first one's key.
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _unusable(what: str, *, retry: bool = False) -> DeliveryError:
    return DeliveryError(
        "send a correction upstream",
        f"the key of the identity map can't be used: {what}",
        "Look after upstream.key_file, or secret/upstream.key in the state directory.",
        retry=retry,
    )

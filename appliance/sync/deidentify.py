"""The identity map: what patients, studies and objects are called outside, for whoever lacks the key.

Names are HMAC-SHA256 under a key that never leaves the box: the same patient has the same name
in every correction of this box, and without the key no name can be traced back or tried out.
Nothing is stored: losing the key only means new names from then on. Dates are left out but for
the year of the review; shifting them by a secret number of days for each patient is not done.
"""

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset

from appliance.config import Settings
from appliance.errors import DeliveryError
from appliance.sync import codes
from appliance.sync.codes import Code

KEY_SIZE = 32  # bytes: as many as the hash gives
PATIENT_ID_DIGITS = 24  # hexadecimal: 96 bits never meet by chance
METHOD = "Echocart: authored from an allow-list; pixels outside the fan blanked"
PROFILE = Code("113100", "DCM", "Basic Application Confidentiality Profile")  # CID 7050
CLEAN_PIXELS = Code("113101", "DCM", "Clean Pixel Data Option")  # CID 7050
OTHER_MANUFACTURER = "Other"

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


def statement() -> Dataset:
    """Return what an object says about its de-identification (PS3.3 C.7.1.1, C.12.1.1.8)."""
    dataset = Dataset()
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD.split("; ")
    dataset.DeidentificationMethodCodeSequence = [codes.item(PROFILE), codes.item(CLEAN_PIXELS)]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"  # cut to years
    return dataset


def identity_map(settings: Settings) -> IdentityMap:
    """Return the identity map of this box; its key is made the first time.

    Raises
    ------
    DeliveryError
        When the key can't be read or made, isn't one, or everybody on the box may read it. A key
        file that the site named is never made: a missing one would silently rename everybody.
    """
    chosen = settings.upstream.key_file
    path = chosen or settings.box.state_dir / "upstream.key"
    try:
        if chosen is None and not path.exists():
            _make(path)
        if path.stat().st_mode & 0o007:
            raise _unusable("everybody on this box may read it (chmod 600 mends that)")
        return IdentityMap(path.read_bytes())
    except OSError as error:
        raise _unusable(f"errno {error.errno}", retry=True) from None


def _make(path: Path) -> None:
    """Make the key once, durably: half a key, or two, must never be used."""
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
        "Look after upstream.key_file, or upstream.key in the state directory.",
        retry=retry,
    )

"""What a tablet may keep of a patient's identity: a keyed hash, which nobody turns back into an ID."""

import hmac
from hashlib import sha256

from flask import current_app

_DIGITS = 32


def patient_key(patient_id: str) -> str:
    """Return what stands for a PatientID in a browser's storage.

    PatientIDs are short numbers: a plain hash is undone by trying them all, so the box's own key
    (`webui.key`) is part of it.
    """
    secret: bytes = current_app.config["SECRET_KEY"]
    return hmac.new(secret, b"PatientID " + patient_id.encode(), sha256).hexdigest()[:_DIGITS]

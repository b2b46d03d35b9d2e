"""Keys and passwords that systemd hands to a service (LoadCredential=): it reads no key file itself.

Keys may then belong to root alone. Outside systemd the files are read where the site put them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.config import Settings

_SCP = ("scp", "tls_key")
_PAGE = ("webui", "tls_key")
_PSEUDONYMS = ("upstream", "key_file")
_OF_SERVICE = {
    "scp": (_SCP,),
    "webui": (_PAGE,),
    "sync": (_SCP, _PSEUDONYMS),  # it calls a PACS by TLS with the receiver's certificate
}


def name_of(path: Path) -> str:
    """Return how the file's credential is called."""
    return str(path).strip("/").replace("/", "_")


def files(settings: Settings, service: str) -> Iterator[Path]:
    """Yield the files with secrets that a service needs (`scp`, `engine`, `webui`, `sync`)."""
    for section, name in _OF_SERVICE.get(service, ()):
        if path := getattr(getattr(settings, section), name):
            yield path
    if service == "sync":
        for item in settings.destination:
            if path := getattr(item, "password_file", None):
                yield path


def handed(settings: Settings) -> Settings:
    """Return settings whose secrets are read from where systemd has put them, if it has."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return settings

    def replaced(section: Any, name: str) -> Any:
        path = getattr(section, name, None)
        given = Path(folder) / name_of(path) if path else None
        return section.model_copy(update={name: given}) if given and given.exists() else section

    sections = {
        section: replaced(getattr(settings, section), name)
        for section, name in (_SCP, _PAGE, _PSEUDONYMS)
    }
    destinations = tuple(replaced(item, "password_file") for item in settings.destination)
    return settings.model_copy(update={**sections, "destination": destinations})

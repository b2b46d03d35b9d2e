"""What every HTTP client of the box has in common: whom it trusts, how it says who it is, silence.

Import it where it is used: requests costs 0.1 s.
"""

import logging
import os
import ssl
from pathlib import Path

import requests
from requests.auth import AuthBase, _basic_auth_str

from appliance.errors import ApplianceError

CONNECT_S = 10.0
ANSWER_S = 120.0


class SecretError(ApplianceError):
    """The file that holds a server's password or token can't be used."""


class Secret(AuthBase):
    """Who we are: user and password (RFC 7617), or a bearer token (RFC 6750), or nobody.

    The file is read at each request: a new secret works at once.

    Parameters
    ----------
    user, password_file
        "" and None without.
    token_file
        Holds a token; None without. It goes before a password.
    """

    def __init__(
        self, user: str = "", password_file: Path | None = None, token_file: Path | None = None
    ) -> None:
        self._user, self._password_file, self._token_file = user, password_file, token_file

    def header(self) -> str:
        """Return the value of Authorization, "" without a secret.

        Raises
        ------
        SecretError
            When the password or token can't be read.
        """
        if self._token_file:
            return f"Bearer {_read(self._token_file, 'token')}"
        if self._password_file:
            password = _read(self._password_file, "password")
            # As UTF-8 (RFC 7617 2.1): requests would encode text in Latin-1.
            return _basic_auth_str(self._user.encode(), password.encode())
        return ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Say it in a request's header."""
        if header := self.header():
            request.headers["Authorization"] = header
        return request


def session(secret: Secret, ca_file: Path | None = None) -> requests.Session:
    """Return a session for one server.

    Parameters
    ----------
    secret
        Who we are there.
    ca_file
        Who signs its certificate; None for the authorities of the system.
    """
    logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)  # its lines quote addresses
    made = requests.Session()
    made.verify = str(ca_file) if ca_file else authorities()
    made.trust_env = False  # neither a .netrc nor a proxy decides where results go
    made.auth = secret
    return made


def authorities() -> str | bool:
    """Return where the certificates of trusted authorities are: the system's, where it has any.

    requests brings its own, which know nothing of an authority that a hospital has installed.
    """
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if found := os.environ.get(name):
            return found
    paths = ssl.get_default_verify_paths()  # heeds SSL_CERT_FILE and SSL_CERT_DIR
    if paths.cafile:
        return paths.cafile
    if paths.capath and any(Path(paths.capath).glob("*.0")):
        return paths.capath
    return True


def _read(path: Path, what: str) -> str:
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "no text"
        hint = "Name a file that this service may read."
        raise SecretError(f"read a {what}", f"{path}: {reason}", hint) from error
    if not secret or not secret.isprintable():
        raise SecretError(f"read a {what}", f"{path} holds no {what}", f"Write the {what} into it.")
    return secret

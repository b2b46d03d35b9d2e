"""TLS: what both ends must show and speak over DICOM (PS3.15 B.9, RFC 9325), and of the page.

TLS 1.2 or newer, ephemeral keys, AES-GCM. Over DICOM a certificate of the site's own authority on
both sides: a cart without one never gets as far as an association.
"""

import os
import ssl
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.config import Scp
from appliance.errors import ApplianceError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CIPHERS = "ECDHE+AESGCM"  # RFC 9325 4.2; those of TLS 1.3 are all allowed
RENEW_BEFORE = timedelta(days=60)
_OPERATION = "use TLS"
RENEW = "Make new ones with `echocart tls init` or `echocart tls cart`, and restart the receiver."


class TlsError(ApplianceError):
    """Certificates or keys can't be used."""


def server_context(scp: Scp) -> ssl.SSLContext:
    """Return what the TLS port demands of carts.

    Raises
    ------
    TlsError
        When a file is missing, unreadable, or doesn't fit the others.
    """
    return _context(scp, ssl.PROTOCOL_TLS_SERVER)


def client_context(scp: Scp) -> ssl.SSLContext:
    """Return what we demand of a cart that we open an association to.

    Raises
    ------
    TlsError
        When a file is missing, unreadable, or doesn't fit the others.

    Notes
    -----
    Carts are known by address, which changes, and their certificates rarely name it: being
    certified by the site's authority counts, the host name doesn't.
    """
    return _context(scp, ssl.PROTOCOL_TLS_CLIENT)


def page_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return how the review page is served: browsers show no certificate of their own.

    Raises
    ------
    TlsError
        When a file is missing, unreadable, or doesn't fit the other.
    """
    context = _strict(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        name, text = next(
            page_problems(certificate, key), ("tls_certificate", "the files can't be used")
        )
        hint = "`echocart check` tells more."
        raise TlsError(_OPERATION, f"webui.{name}: {text}", hint) from error
    return context


def _strict(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _context(scp: Scp, protocol: int) -> ssl.SSLContext:
    if not (scp.tls_certificate and scp.tls_key and scp.tls_ca):
        hint = "Run `echocart tls init`; it prints the lines to add."
        raise TlsError(_OPERATION, "the file sets no certificates", hint)
    context = _strict(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(scp.tls_certificate, scp.tls_key, password=_no_password)
        context.load_verify_locations(scp.tls_ca)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        name, text = next(problems(scp), ("tls_certificate", "the files can't be used"))
        raise TlsError(_OPERATION, f"scp.{name}: {text}", "`echocart check` tells more.") from error
    return context


def _no_password() -> str:
    # Without this, OpenSSL asks at the terminal, and a service waits for ever.
    raise ValueError("the key is encrypted")


def problems(scp: Scp) -> Iterator[tuple[str, str]]:
    """Yield (setting, what is wrong and what to do) of the certificate files, worst first."""
    if scp.tls_certificate is None or scp.tls_key is None or scp.tls_ca is None:
        return
    paths = {"tls_certificate": scp.tls_certificate, "tls_key": scp.tls_key, "tls_ca": scp.tls_ca}
    unreadable = [(name, words) for name, path in paths.items() if (words := _unreadable(path))]
    yield from unreadable
    if not unreadable:
        yield from _mismatches(scp.tls_certificate, scp.tls_key, scp.tls_ca)


def page_problems(certificate: Path, key: Path) -> Iterator[tuple[str, str]]:
    """Yield (setting, what is wrong and what to do) of the review page's files, worst first."""
    paths = {"tls_certificate": certificate, "tls_key": key}
    unreadable = [(name, words) for name, path in paths.items() if (words := _unreadable(path))]
    yield from unreadable
    if not unreadable:
        yield from _mismatches(certificate, key)


def unnamed(certificate: Path, names: Sequence[str]) -> list[str]:
    """Return which host names and addresses a certificate isn't for: browsers refuse them.

    Raises
    ------
    ValueError, OSError
        When there is no certificate in the file.
    """
    from cryptography import x509

    try:
        found = _first(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return list(names)
    known = {name.lower() for name in found.value.get_values_for_type(x509.DNSName)}
    known |= {str(address) for address in found.value.get_values_for_type(x509.IPAddress)}
    wild = {f"*.{name.partition('.')[2]}" for name in names} & known
    return [
        name for name in names if name not in known and f"*.{name.partition('.')[2]}" not in wild
    ]


def expiry(certificate: Path) -> datetime:
    """Return when a certificate file ends, in UTC.

    Raises
    ------
    ValueError, OSError
        When there is none in it.
    """
    return _first(certificate).not_valid_after_utc


def _unreadable(path: Path) -> str:
    try:
        path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        return f"{path}: {reason}. Put it there, readable for the receiver's user"
    return ""


def _mismatches(certificate: Path, key: Path, ca: Path | None = None) -> Iterator[tuple[str, str]]:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        ours = _first(certificate)
    except ValueError:
        yield "tls_certificate", f"{certificate} holds no certificate in PEM. Name the right file"
        return
    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError):
        words = "holds no private key in PEM, or one with a password. Name a plain one"
        yield "tls_key", f"{key} {words}"
        return
    if private.public_key() != ours.public_key():
        yield "tls_key", f"{key} isn't the key of {certificate}. Name the two that belong together"
    if ca is not None:
        yield from _of_authority(certificate, ours, ca)
    yield from (("tls_certificate", f"{certificate} {words}") for words in _out_of_time(ours))


def _of_authority(certificate: Path, ours: "Certificate", ca: Path) -> Iterator[tuple[str, str]]:
    from cryptography.exceptions import InvalidSignature

    try:
        authority = _first(ca)
    except ValueError:
        yield "tls_ca", f"{ca} holds no certificate in PEM. Name the site authority's file"
        return
    try:
        ours.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        # Between the two may stand others, in the same file: then only its carts know.
        if len(_all(certificate)) == 1 and len(_all(ca)) == 1:
            words = f"{certificate} is not signed by {ca}. Name the authority that made it"
            yield "tls_ca", words
    yield from (("tls_ca", f"{ca} {words}") for words in _out_of_time(authority))


def _out_of_time(item: "Certificate") -> Iterator[str]:
    now = datetime.now(timezone.utc)
    if item.not_valid_after_utc < now:
        yield f"expired on {item.not_valid_after_utc:%Y-%m-%d}. {RENEW}"
    elif item.not_valid_before_utc > now:
        yield f"is valid from {item.not_valid_before_utc:%Y-%m-%d} only. Set the clock right"


def _first(path: Path) -> "Certificate":
    return _all(path)[0]


def _all(path: Path) -> "list[Certificate]":
    from cryptography.x509 import load_pem_x509_certificates

    return load_pem_x509_certificates(path.read_bytes())

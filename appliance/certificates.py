"""A certificate authority of the site's own, for its box and its carts.

RSA, because every cart's TLS knows it; keys are files that only their owner reads.
"""

import ipaddress
import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.tls import TlsError

_KEY_BITS = 3072  # as strong as AES-128; RFC 9325 4.1 asks for 2048
_AUTHORITY_LASTS = timedelta(days=20 * 365)  # as long as a cart
_CERTIFICATE_LASTS = timedelta(days=5 * 365)  # `echocart check` tells 60 days before
_CLOCK_SKEW = timedelta(days=1)  # carts without a time server
_OPERATION = "make certificates"

CA, CA_KEY = "ca.pem", "ca.key"


def make_authority(folder: Path, site: str) -> None:
    """Make the site's authority: `ca.pem` for everybody, `ca.key` to be kept safe.

    Raises
    ------
    TlsError
        When one is there already, or the folder can't be written.
    """
    key, now = _new_key(), datetime.now(timezone.utc)
    name = _name(f"{site} Echocart CA")
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _builder(name, name, key.public_key(), now, _AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_pair(folder / CA, folder / CA_KEY, certificate, key)


def issue(folder: Path, file_name: str, title: str, hosts: Sequence[str] = ()) -> None:
    """Make key and certificate of one machine: `<file_name>.pem` and `<file_name>.key`.

    Parameters
    ----------
    folder
        Where the authority is, and the two files go.
    file_name
        Without its ending.
    title
        Common name: the machine's AE title.
    hosts
        Host names and IP addresses it is reached by.

    Raises
    ------
    TlsError
        When the files are there already, or the authority isn't.
    """
    authority, authority_key = _load_authority(folder)
    key, now = _new_key(), datetime.now(timezone.utc)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    lasts = min(_CERTIFICATE_LASTS, authority.not_valid_after_utc - now)
    builder = (
        _builder(_name(title), authority.subject, key.public_key(), now, lasts)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # Both: a cart that takes reports is a server, too.
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority_identifier(authority), critical=False)
    )
    if hosts:
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(authority_key, hashes.SHA256())
    _write_pair(folder / f"{file_name}.pem", folder / f"{file_name}.key", certificate, key)


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: rsa.RSAPublicKey,
    now: datetime,
    lasts: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lasts)
    )


def _authority_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    subject_key = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _load_authority(folder: Path) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((folder / CA).read_bytes())
        key = serialization.load_pem_private_key((folder / CA_KEY).read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        subject = f"{folder} holds no usable {CA} and {CA_KEY}"
        hint = "Run `echocart tls init` first, or name its folder with --dir."
        raise TlsError(_OPERATION, subject, hint) from error
    assert isinstance(key, rsa.RSAPrivateKey)
    return certificate, key


def _write_pair(
    certificate_path: Path, key_path: Path, certificate: x509.Certificate, key: rsa.RSAPrivateKey
) -> None:
    for path in (certificate_path, key_path):
        if path.exists():
            hint = "Carts trust it: keep it, or move it away first."
            raise TlsError(_OPERATION, f"{path} is there already", hint)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        _write_new(key_path, secret, 0o600)
        _write_new(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    except OSError as error:
        subject = f"{key_path.parent}: {os.strerror(error.errno or 0)}"
        raise TlsError(_OPERATION, subject, "Name a folder you may write with --dir.") from error


def _write_new(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, mode)  # whatever the umask says
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)

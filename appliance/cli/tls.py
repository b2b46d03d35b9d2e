"""`echocart tls`: certificates of the site's own, for box, page and carts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config
from appliance.errors import ApplianceError

app = typer.Typer(
    help="TLS: make the site's certificates for this box, its review page and its carts.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Option("--dir", help="where keys and certificates are kept")]
Hosts = Annotated[
    list[str] | None, typer.Option("--name", help="host name or IP address; may be repeated")
]
DEFAULT_FOLDER = Path("/etc/echocart/tls")
_PORT = 2762  # IANA: dicom-tls


@app.command("init")
def init(
    directory: Folder = DEFAULT_FOLDER, name: Hosts = None, config: Config = DEFAULT_CONFIG
) -> None:
    """Make the site's authority and the box's certificate, for DICOM and the review page.

    Prints what to do with them.
    """
    from appliance import certificates
    from appliance.config import load

    box, name = load(config).box, _checked(name)
    folder = directory.absolute()
    certificates.make_authority(folder, box.station_name)
    certificates.issue(folder, "box", box.ae_title, name)
    where = ", ".join(name) or "this box's address"
    typer.echo(f"""\
Made in {folder}: {certificates.CA} and {certificates.CA_KEY} (the site's authority), box.pem and \
box.key.
Keep {certificates.CA_KEY} where only you read it: whoever has it can make a cart that this box trusts.

Add to [scp] in {config}, and restart the receiver:
  tls_port = {_PORT}
  tls_certificate = "{folder / "box.pem"}"
  tls_key = "{folder / "box.key"}"
  tls_ca = "{folder / certificates.CA}"
For the review page beyond this machine, add to [webui], and restart the page:
  host = "0.0.0.0"
  names = {json.dumps(name or ["NAME OR ADDRESS THAT TABLETS REACH IT BY"])}
  tls_certificate = "{folder / "box.pem"}"
  tls_key = "{folder / "box.key"}"
and install {certificates.CA} on the tablets as an authority.
The two .key files belong to you alone now. Give box.key to the services' user (chown) and the folder
to its group (chgrp), so that they may read it; ca.key stays yours.

For the cart's service engineer:
  authority   {folder / certificates.CA}
  AE title    {box.ae_title}
  host, port  {where}, {_PORT}
  security    TLS 1.2 or newer, ECDHE with AES-GCM, certificates on both sides (BCP 195)
A cart that has no certificate of its own gets one by: echocart tls cart AETITLE --dir {folder}""")


@app.command("cart")
def cart(
    title: Annotated[str, typer.Argument(help="the cart's AE title")],
    directory: Folder = DEFAULT_FOLDER,
    name: Hosts = None,
) -> None:
    """Make key and certificate of a cart, for its service engineer."""
    from appliance import certificates
    from appliance.config import ae_title

    name = _checked(name)
    try:
        title = ae_title(title)
    except ValueError as error:
        raise ApplianceError("make certificates", f"{title!r}: {error}", "Correct it.") from error
    folder = directory.absolute()
    # A title may hold characters that no file name should.
    file_name = "cart-" + "".join(c if c.isalnum() or c in "-_" else "_" for c in title)
    certificates.issue(folder, file_name, title, name)
    typer.echo(f"""\
For the service engineer of {title}, all three by a safe way:
  certificate {folder / file_name}.pem
  key         {folder / file_name}.key
  authority   {folder / certificates.CA}""")


def _checked(names: list[str] | None) -> list[str]:
    from appliance.config import host_name

    checked = []
    for name in names or []:
        try:
            checked.append(host_name(name))
        except ValueError as error:
            subject = f"{name!r} is not a host name or IP address"
            hint = "Name it as carts and tablets will, without port."
            raise ApplianceError("make certificates", subject, hint) from error
    return checked

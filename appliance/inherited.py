"""Ports that systemd holds for the services (sd_listen_fds(3)): callers wait while one restarts."""

import logging
import os
import socket
from functools import cache

log = logging.getLogger("echocart")


def take(host: str, port: int) -> socket.socket | None:
    """Return the socket that systemd listens with at an address; None when there is none.

    Parameters
    ----------
    host, port
        As the configuration has them. A socket that listens elsewhere is left alone: the page
        must not answer where the site doesn't want it.

    Returns
    -------
    socket.socket or None
        It listens already. Close it, never shut it down: it is systemd's too.
    """
    for given in _given():
        at = given.getsockname()
        if at[1] == port and at[0] in _addresses(host):
            return given
    if _given():
        log.warning(
            "systemd doesn't listen at %s:%d: while this service restarts, callers are refused."
            " Run: systemctl daemon-reload && systemctl restart echocart.target",
            *(host, port),
        )
    return None


@cache
def _given() -> tuple[socket.socket, ...]:
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return ()
    from systemd import daemon  # type: ignore[attr-defined,unused-ignore]

    # Unset: a child isn't to take them for its own.
    return tuple(socket.socket(fileno=fd) for fd in daemon.listen_fds(unset_environment=True))


def _addresses(host: str) -> set[str]:
    try:
        return {host, *(str(info[4][0]) for info in socket.getaddrinfo(host, None))}
    except (OSError, UnicodeError):
        return {host}

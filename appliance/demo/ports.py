"""Ports for servers that are started beside a box."""

import random
import socket


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    # Not one of those that the kernel gives to outgoing connections (from 32768 on): until the
    # service listens, some seconds later, another process would have taken it.
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port

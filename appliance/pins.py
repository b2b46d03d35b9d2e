"""PINs: what makes one, and its argon2id hash (RFC 9106; OWASP's 19 MiB, two passes)."""

import secrets
from itertools import pairwise
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

FEWEST, MOST = 6, 12
_hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
# Who floods the page with tries gets two cores and 40 MB at most; everybody else's page goes on.
_at_once = BoundedSemaphore(2)
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$"


def problem(pin: str) -> str:
    """Say what is wrong with a PIN that somebody wants; "" when nothing is."""
    if not (pin.isascii() and pin.isdigit()) or not FEWEST <= len(pin) <= MOST:
        return f"A PIN is {FEWEST} to {MOST} digits."
    steps = {(int(b) - int(a)) % 10 for a, b in pairwise(pin)}
    repeats = pin in (pin + pin)[1:-1]  # of a part of itself
    if repeats or steps in ({1}, {9}):
        return "That PIN is the first that anybody tries. Take another one."
    return ""


def random() -> str:
    """Return a PIN that nobody guesses first."""
    while problem(pin := "".join(secrets.choice("0123456789") for _ in range(FEWEST))):
        pass
    return pin


def hashed(pin: str) -> str:
    """Return what is kept of a PIN."""
    with _at_once:
        return _hasher.hash(pin)


def matches(kept: str, pin: str) -> bool:
    """Tell whether a PIN is the kept one; "" is nobody's, and takes as long to say no to."""
    with _at_once:
        try:
            return _hasher.verify(kept or _nobody(), pin) and bool(kept)
        except (VerificationError, InvalidHashError):
            return False


def _nobody() -> str:
    # Salt and hash of nothing: verifying against it costs what any other costs.
    return f"{_NOBODY}{'A' * 22}${'A' * 43}"

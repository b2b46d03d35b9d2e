"""The ledger: one SQLite file that holds every state and every change of state.

| file | holds |
|---|---|
| `connection.py` | the file itself: opening, transactions, waiting for a change |
| `schema.py` | tables and migrations |
| `reception.py` | what arrived |
| `space.py` | what takes room, and what may leave |
| `skew.py` | how far carts' clocks are from the box's |
| `quarantine.py` | what was refused and put aside |
| `cart.py` | who may send |
| `caller.py` | who called, who was refused or turned away |
| `commitment.py` | what carts asked to be kept for good, and whether they were told |
| `analysis.py` | what the engine claims, stores and seals |
| `review.py` | what a person decided |
| `identity.py`, `person.py` | whose study it is, where loops tell of several patients |
| `delivery.py` | what goes where, and whether it is proven there; `turn.py`: what goes next |
| `asked.py`, `reported.py` | what destinations were asked to keep for good, and what they reported |
| `command.py` | what a page asks another service to do, and the answer |
| `result.py` | what reviews became, and in which form it left |
| `destination.py` | destinations paused, resting, and what waits for them |
| `user.py` | who may use the page, in which roles |
| `token.py`, `served.py`, `described.py` | programs that may read, what they are shown, and find it by |
| `session.py` | who is signed in where, and until when |
| `lockout.py` | waits after bad PINs |
| `audit.py` | who did what, in a chain of hashes |
| `restored.py` | what is put back from the spool when the ledger was lost |
| `setting.py` | what is decided over the TOML file while the box runs |
| `release.py`, `shadow.py`, `trial.py` | models that came by a signed update: steps, candidates beside the model in force, faults |
| `worklist.py` | reads for the page and for `echocart status` |

Each change of state is one function with one transaction.
"""

from appliance.ledger import (
    analysis,
    caller,
    cart,
    commitment,
    delivery,
    quarantine,
    reception,
    review,
    setting,
    worklist,
)
from appliance.ledger.connection import Ledger

__all__ = [
    "Ledger",
    "analysis",
    "caller",
    "cart",
    "commitment",
    "delivery",
    "quarantine",
    "reception",
    "review",
    "setting",
    "worklist",
]

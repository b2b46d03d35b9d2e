"""The ledger: one SQLite file that holds every state and every change of state.

| file | holds |
|---|---|
| `connection.py` | the file itself: opening, transactions, waiting for a change |
| `schema.py` | tables and migrations |
| `reception.py` | what arrived |
| `analysis.py` | what the engine claims, stores and seals |
| `review.py` | what a person decided |
| `delivery.py` | what goes where, and whether it is proven there |
| `setting.py` | what is decided over the TOML file while the box runs |
| `worklist.py` | reads for the page and for `echocart status` |

Each change of state is one function with one transaction.
"""

from appliance.ledger import analysis, delivery, reception, review, setting, worklist
from appliance.ledger.connection import Ledger

__all__ = ["Ledger", "analysis", "delivery", "reception", "review", "setting", "worklist"]

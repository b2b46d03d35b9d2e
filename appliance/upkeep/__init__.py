"""What keeps a box's state whole: copies of it, what is found damaged, and how it is put right.

| file | does |
|---|---|
| `records.py` | each review once more, as a file in the spool: it outlives the ledger |
| `damage.py` | a damaged ledger is noticed when a service starts, set aside, and replaced |
| `snapshot.py` | the copy of the ledger that takes its place |
| `rebuild.py` | rows for what lies in the spool without one |
| `backup.py` | `echocart backup` and `restore` |
| `fsck.py` | `echocart fsck`: the ledger held against the spool |
| `background.py` | the part of it that the sync service does beside its work |
"""

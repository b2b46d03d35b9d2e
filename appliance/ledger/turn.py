"""Whose turn it is in the outbox: the oldest object that is due, now and then the newest decision's.

Who looks reads without the write lock and takes it only for the row found: a backlog of thousands
of rows must not keep a cart's object out of the ledger.
"""

import heapq
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from typing import Any

from appliance import __version__
from appliance.ledger import identity, lease
from appliance.ledger.connection import Ledger
from appliance.ledger.current import in_force, newest
from appliance.ledger.outbox import Delivery

# A study is closed when it has been quiet for a while (nothing arrived, nobody decided) and each
# of its loops that could be analysed was, and is decided. After a restart of the box the quiet
# time begins anew.
_CLOSED = f"""
SELECT NOT EXISTS (
  SELECT 1 FROM instance i JOIN instance mine ON mine.seq = :seq
  WHERE (i.seq = mine.seq OR (i.study_instance_uid = mine.study_instance_uid
         AND i.study_instance_uid != ''))
    AND (
      :now - CASE WHEN i.received_boot_id = :boot THEN i.received_boot_s ELSE 0 END < :quiet
      OR :now - coalesce((SELECT CASE WHEN r.decided_boot_id = :boot THEN r.decided_boot_s END
           FROM review r WHERE r.seq = i.seq ORDER BY r.id DESC LIMIT 1), 0) < :quiet
      OR i.state IN ('received', 'analysing')
      OR (i.state = 'analysed'
          AND i.seq = {newest("i")}
          AND {in_force("i")} IS NULL)
    )
)
"""
# What a destination gets of a loop arrives in order, the loop before its results. One that the
# destination has refused, or that is there and waits for its proof only, holds nothing back.
_FIRST = """
NOT EXISTS (
  SELECT 1 FROM outbox e WHERE e.seq = o.seq AND e.destination = o.destination
  AND e.id < o.id AND e.state IN ('queued', 'sent') AND e.problem = '' AND e.awaits = ''
  AND e.kind IN ('original', 'rejection')
)
"""
# Of one UID one object is under way at a time: two would race for its place at the destination.
_ALONE = f"""
NOT EXISTS (
  SELECT 1 FROM outbox e CROSS JOIN instance l ON l.seq = e.seq
  WHERE e.owner IS NOT NULL AND e.destination = o.destination AND e.id != o.id
  AND NOT {lease.free_row("e")} AND l.sop_instance_uid = i.sop_instance_uid
)
"""
_WAITING = "o.state IN ('queued', 'sent') AND o.awaits != 'commitment'"
_ORIGINALS, _RESULTS = "o.review_id IS NULL", "o.review_id IS NOT NULL"
# Two walks, each along its index: thousands of rows that wait for their next try are not looked
# at in order to find the one that is due.
_AT_ONCE = f"{_WAITING} AND {{among}} AND {{kind}} AND o.next_try_at IS NULL"
_TRIED = f"SELECT o.id FROM outbox o WHERE {_WAITING} AND {{among}} AND o.next_try_at IS NOT NULL"
_POSTPONED = (
    f"o.id IN ({_TRIED} AND o.next_try_boot_id = :boot AND o.next_try_at <= :now"
    f" UNION ALL {_TRIED} AND o.next_try_boot_id < :boot"
    f" UNION ALL {_TRIED} AND o.next_try_boot_id > :boot)"
    " AND +{kind}"  # plus: not by the index of reviews, which holds every original there ever was
)
_THIS = (
    f"{_WAITING} AND {{among}} AND {{kind}} AND o.id = :key AND"
    " (o.next_try_at IS NULL OR o.next_try_boot_id != :boot OR o.next_try_at <= :now)"
)
# What stood at the first try of the first of a review's results: all of them, to every
# destination and at each try, tell of the same.
_BASIS = (
    "INSERT INTO report_basis (review_id, newest_review) SELECT ?, max(id) FROM review WHERE true"
    " ON CONFLICT DO NOTHING"
)
_FIRST_RELEASE = "UPDATE outbox SET first_release = ? WHERE id = ?"
FRESH_S = 1800.0  # a decision is fresh for so long after its study could close
_LATEST = 200  # decisions among which fresh ones are looked for
_RACES = 5  # rows that somebody else may take first before this look finds nothing


def claim(
    ledger: Ledger,
    owner: str,
    lease_s: float,
    destinations: Sequence[str],
    closes_after_s: float = 0.0,
) -> Delivery | None:
    """Lease the oldest object that is due at one of the destinations, or return None.

    Originals are due at once; results when their study is closed, which is once nothing
    arrived and nobody decided for `closes_after_s` and every analysed loop of it is decided.
    Those whose patient is in doubt by then stay (promise 12).
    """
    look = _Look(ledger, destinations, closes_after_s)
    for _ in range(_RACES):
        found = look.first()
        if found is None:
            return None
        if leased := look.take(found, owner, lease_s):
            return leased
    return None


def claim_fresh(
    ledger: Ledger,
    owner: str,
    lease_s: float,
    destination: str,
    closes_after_s: float = 0.0,
    seq: int | None = None,
) -> Delivery | None:
    """Lease what the newest decision sends, whatever waits before it, or return None.

    Its loop comes first, where the destination gets originals and doesn't have it.

    Parameters
    ----------
    ledger, owner, lease_s, destination, closes_after_s
        As for `claim`.
    seq
        Only what belongs to this loop.
    """
    look = _Look(ledger, [destination], closes_after_s)
    for number in [seq] if seq is not None else look.fresh(destination):
        if found := look.first(number):
            return look.take(found, owner, lease_s)
    return None


class _Look:
    """One look for what is due; what it learns of studies and patients it asks once."""

    def __init__(self, ledger: Ledger, destinations: Sequence[str], closes_after_s: float) -> None:
        self._ledger = ledger
        self._names = {f"d{index}": name for index, name in enumerate(destinations)}
        self._quiet = closes_after_s
        self._closed: dict[str | int, bool] = {}
        self._in_doubt: dict[int, bool] = {}

    def first(self, seq: int | None = None) -> Any:
        """Return the first row that is due, or None; of one loop only if `seq` is given."""
        with closing(self._due(seq)) as rows:
            return next(rows, None)

    def _due(self, seq: int | None) -> Generator[Any, None, None]:
        for kind in (_ORIGINALS, _RESULTS):
            with ExitStack() as readers:  # one that stays keeps the WAL from being folded
                walks = [
                    readers.enter_context(closing(self._rows(which, kind, seq=seq)))
                    for which in (_AT_ONCE, _POSTPONED)
                ]
                in_order = heapq.merge(*walks, key=lambda row: row["id"])
                yield from (row for row in in_order if self._may_leave(row))

    def fresh(self, destination: str) -> list[int]:
        """Return the loops decided lately whose results wait, the latest decision first."""
        rows = self._ledger.read(
            "SELECT r.seq FROM review r CROSS JOIN outbox o ON o.review_id = r.id"
            " WHERE r.id > (SELECT max(id) FROM review) - :latest"
            " AND r.decided_boot_id = :boot AND :now - r.decided_boot_s < :fresh"
            f" AND o.destination = :d0 AND {_WAITING} AND o.awaits = '' AND o.owner IS NULL"
            " GROUP BY r.id ORDER BY r.id DESC",
            lease.parameters(d0=destination, fresh=self._quiet + FRESH_S, latest=_LATEST),
        )
        return [row["seq"] for row in rows]

    def take(self, row: Any, owner: str, lease_s: float) -> Delivery | None:
        """Lease a row if it still is due."""
        with self._ledger.transaction() as db:
            self._closed.clear()
            self._in_doubt.clear()
            kind = _ORIGINALS if row["review_id"] is None else _RESULTS
            rows = self._rows(_THIS, kind, key=row["id"])
            still = rows.fetchone()
            rows.close()
            if still is None or not self._may_leave(still):
                return None
            lease.take(db, "outbox", row["id"], owner, lease_s)
            if row["review_id"] is not None:
                db.conn.execute(_BASIS, [row["review_id"]])
            release = still["first_release"]
            if still["tries"] == 0:
                release = __version__
                db.conn.execute(_FIRST_RELEASE, [release, row["id"]])
        leased = {name: still[name] for name in _LEASED}
        more = {"tries": still["tries"] + 1, "owner": owner, "first_release": release}
        return Delivery(**{**leased, **more})

    def _rows(
        self, which: str, kind: str, seq: int | None = None, key: int | None = None
    ) -> sqlite3.Cursor:
        # The order of the joins is ours: it is that of the index, so that nothing is sorted.
        names = ", ".join(f":{name}" for name in self._names)
        among = (
            f"o.destination = {names}" if len(self._names) == 1 else f"o.destination IN ({names})"
        )
        only = " AND o.seq = :seq" if seq is not None else ""
        sql = (
            "SELECT o.id, o.review_id, o.seq, o.destination, o.kind, o.tries, o.state,"
            " o.first_release,"
            " i.study_instance_uid,"
            " coalesce(r.result_sop_instance_uid, '') AS result_uid,"
            " coalesce(r.result_series_instance_uid, '') AS series_uid"
            " FROM outbox o CROSS JOIN instance i ON i.seq = o.seq"
            " LEFT JOIN review r ON r.id = o.review_id"
            f" WHERE {which.format(among=among, kind=kind)}{only}"
            f" AND {lease.free_row('o')} AND {_FIRST} AND {_ALONE} ORDER BY o.id"
        )
        found = lease.parameters(seq=seq, key=key, **self._names)
        return self._ledger.db.conn.execute(sql, found)

    def _may_leave(self, row: Any) -> bool:
        if row["kind"] == "original":
            return True
        # What is there already is proven, and a rejection note takes back what may be wrong.
        result = (
            row["kind"] in ("seg", "sr", "overlay", "fhir", "correction")
            and row["state"] == "queued"
        )
        if not self._is_closed(row["study_instance_uid"] or row["seq"], row["seq"]):
            return False
        return not (result and self._is_in_doubt(row["seq"]))

    def _is_closed(self, study: str | int, seq: int) -> bool:
        if study not in self._closed:
            found = lease.parameters(seq=seq, quiet=self._quiet)
            row = self._ledger.db.conn.execute(_CLOSED, found).fetchone()
            self._closed[study] = bool(row[0])
        return self._closed[study]

    def _is_in_doubt(self, seq: int) -> bool:
        if seq not in self._in_doubt:
            self._in_doubt[seq] = identity.in_doubt(self._ledger.db, seq)
        return self._in_doubt[seq]


_LEASED = (
    *("id", "review_id", "seq", "destination", "kind"),
    *("result_uid", "series_uid"),
)

"""The box's state: ledger, rights, back-ups, models."""

import os
import stat
import time
from pathlib import Path

from appliance.doctor.probe import Asked, Finding, NotNow, Probe, attention, broken, ok
from appliance.releases import model_store
from appliance.spool import Spool
from appliance.upkeep import damage, records, snapshot

_OLD_COPY_H = 48.0


def _ledger(asked: Asked) -> Finding:
    path = asked.state_dir / "ledger.db"
    if not path.exists():
        return attention("ledger", "no box has run here yet", "Start it.")
    todo = "Restart the box: it is set aside and rebuilt. `echocart fsck` tells more."
    if why := damage.problem(path, whole=True):
        return broken("ledger", f"it is damaged: {why}", todo)
    aside = asked.state_dir / "damaged"
    log = path.with_name("ledger.db-wal")
    size = {"mb": path.stat().st_size // 1_000_000}
    size["wal_mb"] = log.stat().st_size // 1_000_000 if log.exists() else 0
    text = f"whole, {size['mb']} MB"
    if aside.is_dir() and any(aside.iterdir()):
        todo = f"Find out why (disk, memory, power), then remove {aside}."
        return attention("ledger", f"{text}; an earlier one was damaged", todo, **size)
    return ok("ledger", text, **size)


def _copy(asked: Asked) -> Finding:
    path = snapshot.folder(asked.state_dir) / "ledger.db"
    if not path.exists():
        todo = "The sync service makes one within an hour; three times its size must be free."
        return attention("copy of the ledger", "there is none yet", todo)
    hours = (time.time() - path.stat().st_mtime) / 3600
    if not -1 < hours < _OLD_COPY_H:
        todo = "Look whether the sync service runs and the disk has room."
        return attention("copy of the ledger", f"it is {hours:.0f} hours old", todo, hours=hours)
    if snapshot.whole(asked.state_dir) is None:
        return attention("copy of the ledger", "it has changed on disk", "Check the disk's health.")
    return ok("copy of the ledger", f"{max(0.0, hours):.1f} hours old", hours=round(hours, 1))


def _reviews(asked: Asked) -> Finding:
    spool = Spool(asked.state_dir)
    there = set(records.names(spool))
    lacking = sum(name not in there for _, name in records.in_ledger(asked.ledger))
    strange = len(records.unknown(asked.ledger, spool))
    if strange:
        todo = "Restart the box: they are put back."
        return attention("reviews", f"the ledger lacks {strange} that the spool has", todo)
    if lacking:
        todo = "Look whether the sync service runs: it writes them."
        return attention("reviews", f"{lacking} have no file in the spool yet", todo)
    return ok("reviews", f"{len(there)}, each also in the spool")


def _rights(asked: Asked) -> Finding:
    state_dir, wrong = asked.state_dir, []
    if not state_dir.is_dir():
        raise NotNow("there is no state directory yet")
    if not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
        todo = "Run as the services' user, or give it the directory (`chown`)."
        return broken("rights", f"{state_dir} can't be used by this user", todo)
    if _mode(state_dir) & stat.S_IRWXO and _mode(state_dir / "ledger.db") & stat.S_IRWXO:
        wrong.append(f"everybody may read {state_dir}")
    kept = [*state_dir.glob("*.key"), *state_dir.glob("secret/*.key")]
    keys = [*kept, asked.settings.webui.tls_key, asked.settings.scp.tls_key]
    wrong += [f"others may read {key}" for key in keys if key and _mode(key) & stat.S_IRWXO]
    if _mode(asked.config) & stat.S_IWOTH:
        wrong.append(f"everybody may change {asked.config}")
    owners = {path.stat().st_uid for path in (state_dir, *state_dir.glob("ledger.db*"))}
    if len(owners) > 1:
        wrong.append("the ledger's files belong to several users")
    if wrong:
        todo = "Mend it with chmod and chown: the services' user alone needs them."
        return attention("rights", "; ".join(wrong), todo)
    return ok("rights", "nobody else may read patients or keys")


def _mode(path: Path) -> int:
    return path.stat().st_mode if path.exists() else 0


def _model(asked: Asked) -> Finding:
    try:
        names = model_store.resolved(model_store.chosen(asked.ledger, asked.settings))
    except NotNow:
        names = model_store.configured(asked.settings)
    known = []
    for name in names:
        manifest = model_store.load(asked.state_dir, name)
        model_store.must_fit(manifest)
        known.append(f"{manifest.name} {manifest.version}")
    return ok("model", f"{', '.join(known)}: whole", models=known)


PROBES = (
    Probe("ledger", _ledger),
    Probe("copy of the ledger", _copy),
    Probe("reviews", _reviews),
    Probe("rights", _rights),
    Probe("model", _model),
)

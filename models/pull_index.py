"""What a corrections directory shows to others: `frames.csv` for training, `index.parquet` for questions.

The index has every drawing, taught or not: `state` tells "taught", "superseded" (a later decision
about the loop holds) and "duplicate" (the same picture and drawing came from elsewhere). Where one
picture was drawn in several ways, `drawings` is more than 1 and `agreement_*` is the Dice of this
drawing with the others, their mean.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from appliance.manifest import Manifest
from models.corrections import write_table
from models.pulled import Pulled

if TYPE_CHECKING:
    import pyarrow

NAME = "index.parquet"
_BATCH = 2048  # rows in memory
_TEXTS = (
    *("study", "stem", "state", "split", "heart", "patient", "date", "site", "scanner"),
    *("model", "model_sha256", "sop_hash", "reviewer_role", "parent", "source"),
    *("image_sha256", "mask_sha256"),
)
_NUMBERS = ("decision", "frame", "rows", "cols", "drawings")


def write(pulled: Pulled, manifest: Manifest) -> bool:
    """Write both, where there is anything; False when PyArrow lacks for the index."""
    if pulled.is_empty():
        return True
    pulled.settle(manifest)
    write_table(pulled.folder, pulled.rows())
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    _parquet(pulled, [structure.name for structure in manifest.structures])
    return True


def column(structure: str) -> str:
    """Return a structure's name as a part of column names: "left_atrium"."""
    return structure.lower().replace(" ", "_")


def lines(pulled: Pulled, structures: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the index."""
    drawings = (
        "SELECT count(DISTINCT mask_sha256) FROM frame o WHERE o.image_sha256 = d.image_sha256"
    )
    found = pulled.db.execute(
        f"SELECT d.*, ({drawings}) AS drawings FROM drawing d ORDER BY study, frame, phase"
    )
    for row in found:
        line = {name: row[name] for name in (*_TEXTS, *_NUMBERS)}
        line["spacing_mm"] = float(row["spacing_mm"]) if row["spacing_mm"] else None
        line |= _moved(pulled, row["id"], structures)
        if row["drawings"] > 1:
            line |= _agreement(pulled, row["image_sha256"], row["mask_sha256"])
        yield line


def _moved(pulled: Pulled, frame: int, structures: Sequence[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for row in pulled.db.execute("SELECT * FROM moved WHERE frame_id = ?", [frame]):
        if row["structure"] not in structures:
            continue
        name = column(row["structure"])
        made[f"dice_{name}"] = row["dice"]
        made[f"moved_px_{name}"], made[f"moved_mm_{name}"] = row["px"], row["mm"]
        grown = row["after"] / row["before"] - 1 if row["before"] else None
        made[f"grown_{name}"] = grown
    return made


def _agreement(pulled: Pulled, image: str, mask: str) -> dict[str, float]:
    found = pulled.db.execute(
        "SELECT structure, avg(dice) AS dice FROM agreement"
        " WHERE image_sha256 = ? AND ? IN (one, other) GROUP BY structure",
        [image, mask],
    )
    return {f"agreement_{column(row['structure'])}": row["dice"] for row in found}


def _schema(structures: Sequence[str]) -> "pyarrow.Schema":
    import pyarrow

    kinds = ("dice", "moved_px", "moved_mm", "grown", "agreement")
    floats = [f"{kind}_{column(name)}" for name in structures for kind in kinds]
    return pyarrow.schema(
        [
            *((name, pyarrow.string()) for name in _TEXTS),
            *((name, pyarrow.int32()) for name in _NUMBERS),
            *((name, pyarrow.float32()) for name in ("spacing_mm", *floats)),
        ]
    )


def _parquet(pulled: Pulled, structures: Sequence[str]) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    partial = pulled.folder / f".{NAME}.partial"
    schema, rows = _schema(structures), lines(pulled, structures)
    with ParquetWriter(partial, schema, compression="zstd") as writer:
        while batch := list(islice(rows, _BATCH)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
    partial.replace(pulled.folder / NAME)

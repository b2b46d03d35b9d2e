"""What stands: of several objects with one UID, of words on a loop's view, of its reviews."""

# A person's word stands over a model's, also over a later one.
_VIEW = "FROM view WHERE seq = {seq} ORDER BY source = 'person' DESC, id DESC LIMIT 1"
VIEW = f"SELECT * {_VIEW.format(seq='?')}"


def view_id(alias: str) -> str:
    """Return SQL for the id of the row that says what `alias`'s loop shows."""
    return f"(SELECT id {_VIEW.format(seq=f'{alias}.seq')})"


def newest(alias: str) -> str:
    """Return SQL for the `seq` of the current object of `alias`'s SOPInstanceUID.

    What came again after other content had taken its place has a later `arrival` than its `seq`
    tells.
    """
    return (
        f"(SELECT n.seq FROM instance n WHERE n.sop_instance_uid = {alias}.sop_instance_uid"
        " ORDER BY n.arrival DESC, n.seq DESC LIMIT 1)"
    )


def in_force(alias: str, before: str = "") -> str:
    """Return SQL for the id of the review in force of `alias`'s loop, null while none is.

    The newest one; after an undo what stood before the review that it took back, as the undo's
    row names it.

    Parameters
    ----------
    alias
        Of a table with a `seq`.
    before
        SQL of a review's id: what was in force just before that one was made.
    """
    until = f" AND id < {before}" if before else ""
    return (
        "(SELECT CASE decision WHEN 'undone' THEN restores ELSE id END FROM review"
        f" WHERE seq = {alias}.seq{until} ORDER BY id DESC LIMIT 1)"
    )

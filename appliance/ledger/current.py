"""What stands: of several objects with one SOPInstanceUID, of several words on a loop's view."""

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

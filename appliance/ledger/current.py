"""Which of several objects with one SOPInstanceUID stands: the one the machine sent last."""


def newest(alias: str) -> str:
    """Return SQL for the `seq` of the current object of `alias`'s SOPInstanceUID.

    What came again after other content had taken its place has a later `arrival` than its `seq`
    tells.
    """
    return (
        f"(SELECT n.seq FROM instance n WHERE n.sop_instance_uid = {alias}.sop_instance_uid"
        " ORDER BY n.arrival DESC, n.seq DESC LIMIT 1)"
    )


def patients(alias: str) -> str:
    """Return SQL for the number of PatientIDs among the current objects of `alias`'s study."""
    return (
        "(SELECT count(DISTINCT p.patient_id) FROM instance p"
        f" WHERE p.study_instance_uid = {alias}.study_instance_uid"
        f" AND p.study_instance_uid != '' AND p.seq = {newest('p')})"
    )

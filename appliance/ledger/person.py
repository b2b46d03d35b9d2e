"""Who a loop says it is of, and whether two loops can be of one person."""

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

_WORDS = ("ID", "name", "birth date")


class Person(NamedTuple):
    """PatientID as sent; PatientName and PatientBirthDate as they are compared, "" unknown."""

    id: str
    name: str
    birth: str


def person(patient_id: str, patient_name: str, patient_birth_date: str) -> Person:
    """Return a person in the form that is compared.

    Case, spaces and empty components of a name (PS3.5 6.2.1) tell nobody apart.
    """
    folded = unicodedata.normalize("NFKC", patient_name).casefold()
    groups = (
        "^".join(" ".join(part.split()) for part in group.split("^") if part.strip())
        for group in folded.split("=")
    )
    return Person(patient_id, "=".join(groups).strip("="), patient_birth_date.strip())


def differing(*people: Person) -> list[str]:
    """Return in words what tells persons apart; a name or a date that is missing doesn't."""
    values = [{getattr(one, field) for one in people} for field in Person._fields]
    counted = (values[0], *(told - {""} for told in values[1:]))
    return [word for word, told in zip(_WORDS, counted, strict=True) if len(told) > 1]


def told_apart(loops: Iterable[Person]) -> list[Person]:
    """Return the different persons among what loops say, each with all that is known of it."""
    # By their IDs: whatever a broken machine sends as one study, the list of loops asks often.
    found: dict[str, list[Person]] = {}
    # Who says most comes first: a loop without a name is anybody's with its PatientID.
    for one in sorted(set(loops), key=lambda one: (one.count(""), one)):
        same = found.setdefault(one.id, [])
        for index, known in enumerate(same):
            if not differing(known, one):
                same[index] = Person(one.id, known.name or one.name, known.birth or one.birth)
                break
        else:
            same.append(one)
    return sorted(one for same in found.values() for one in same)


def known_as(said: Person, one: Person) -> bool:
    """Tell whether everything that `one` tells was known of the person a word was about."""
    return said.id == one.id and one.name in ("", said.name) and one.birth in ("", said.birth)

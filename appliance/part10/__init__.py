"""DICOM Part 10 files: whole or not (`elements`), where their pixels lie (`header`), who they are about (`identity`)."""

from appliance.part10.header import Header, inflate, read_header, read_identity
from appliance.part10.identity import Identity, identity, number, text, whole_number

__all__ = [
    "Header",
    "Identity",
    "identity",
    "inflate",
    "number",
    "read_header",
    "read_identity",
    "text",
    "whole_number",
]

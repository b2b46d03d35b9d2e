"""DICOM Part 10 files: whole or not (`elements`), who they are about and where pixels lie (`header`)."""

from appliance.part10.header import Header, Identity, identity, inflate, number, read_header, text

__all__ = ["Header", "Identity", "identity", "inflate", "number", "read_header", "text"]

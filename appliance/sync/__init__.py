"""Outward: builds results after a person's review and hands them to destinations, until proven.

| file | holds |
|---|---|
| `server.py` | the service |
| `courier.py` | hands over what is due, and what happens when it can't |
| `asking.py` | storage commitment asked of a PACS; `commitment.py`: what carts asked of us |
| `gate.py`, `brake.py` | when a destination is served, and how fast |
| `folder.py`, `pacs.py`, `archive.py`, `fhir_server.py` | the destinations: a directory, C-STORE, STOW-RS, FHIR |
| `results.py` | from a review to its objects; `lineage.py`: their UIDs, and what they replace |
| `kept.py` | objects that were built, for the next try |
| `seg.py` | the DICOM Segmentation of a loop; `form.py`: in which form a destination gets it |
| `sr.py`, `findings.py` | the report: what was measured, or why not |
| `fhir.py`, `fhir_outcome.py` | the bundle, and why a server took none |
| `rejection.py` | the note that takes back what a later review replaced |
| `document.py` | what a report and a note have alike |
| `modules.py`, `segments.py` | what it says about itself and its structures |
| `frames.py`, `bits.py` | its per-frame items and its pixels |
| `carried.py` | patient and study, byte for byte from the source |
| `encode.py`, `codes.py` | data elements and coded concepts |
"""

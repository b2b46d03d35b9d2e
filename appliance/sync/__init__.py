"""Outward: builds results after a person's review and hands them to destinations, until proven.

| file | holds |
|---|---|
| `server.py` | the service |
| `courier.py` | which result goes next, and what happens when it can't |
| `folder.py` | the destination `folder`: a directory of Part 10 files |
| `results.py` | from a review to its objects; `lineage.py`: their UIDs, and what they replace |
| `seg.py` | the DICOM Segmentation of a loop |
| `sr.py`, `findings.py` | the report: what was measured, or why not |
| `rejection.py` | the note that takes back what a later review replaced |
| `document.py` | what a report and a note have alike |
| `modules.py`, `segments.py` | what it says about itself and its structures |
| `frames.py`, `bits.py` | its per-frame items and its pixels |
| `carried.py` | patient and study, byte for byte from the source |
| `encode.py`, `codes.py` | data elements and coded concepts |
"""

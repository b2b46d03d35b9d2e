"""Outward: builds results after a person's review and hands them to destinations, until proven.

| file | holds |
|---|---|
| `server.py` | the service |
| `courier.py` | which result goes next, and what happens when it can't |
| `folder.py` | the destination `folder`: a directory of Part 10 files |
| `seg.py` | the DICOM Segmentation of a loop |
| `modules.py`, `segments.py` | what it says about itself and its structures |
| `frames.py`, `bits.py` | its per-frame items and its pixels |
| `carried.py` | patient and study, byte for byte from the source |
| `encode.py`, `codes.py` | data elements and coded concepts |
"""

"""What is released, and what a box makes of it: networks, and the appliance itself.

| file | does |
|---|---|
| `model_store.py` | the models of a box: shipped, added, fetched; which of them draws |
| `bundle.py` | a released model as one file: model, golden frames, what its makers say |
| `updates.py` | fetches bundles from the central team's signed repository (TUF) |
| `stick.py`, `minisign.py` | takes a bundle from a USB stick, and verifies who signed it |
| `shadowing.py` | when a candidate's figures let it draw, and what speaks against it |
| `promotion.py` | the candidate takes over, or goes; the one before comes back |
| `installed.py` | releases of the appliance itself, and the way back to the one before |
"""

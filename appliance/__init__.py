"""The Echocart box: receives echo loops, draws the heart, lets a person decide, delivers the result."""

import os

__version__ = "0.1.0"

# ONNX Runtime stores and sends who runs it as soon as it is imported; its own switch comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

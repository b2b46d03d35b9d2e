"""pydicom without `requests`, with which it would fetch files of its own tests.

Seven megabytes and a tenth of a second of each service that asks nobody over HTTP. Imported before
pydicom; whoever needs `requests` imports it as ever.
"""

import sys

if "requests" not in sys.modules:
    sys.modules["requests"] = None  # type: ignore[assignment]  # "not installed", to importers
    try:
        import pydicom  # noqa: F401
    finally:
        del sys.modules["requests"]

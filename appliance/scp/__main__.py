"""`python -m appliance.scp --config FILE`: the echocart-scp service."""

from appliance import lean  # noqa: F401  # before pynetdicom, which imports pydicom
from appliance.scp.server import run
from appliance.service import main

main("scp", run)

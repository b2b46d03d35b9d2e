"""`python -m appliance.sync --config FILE`: the echocart-sync service."""

from appliance.service import main
from appliance.sync.server import run

main("sync", run)

"""`python -m appliance.engine --config FILE`: the echocart-engine service."""

from appliance.engine.worker import run
from appliance.service import main

main("engine", run)

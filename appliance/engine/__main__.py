"""`python -m appliance.engine --config FILE`: the echocart-engine service."""

import os

from appliance.engine.worker import run
from appliance.service import main

# A decision on the page and a loop that arrives wait for people; an analysis waits for nobody.
_NICENESS = 5

os.nice(_NICENESS)
main("engine", run)

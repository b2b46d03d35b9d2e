"""`python -m appliance.webui --config FILE`."""

from appliance.service import main
from appliance.webui.server import run

main("webui", run)

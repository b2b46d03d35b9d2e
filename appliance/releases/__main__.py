"""`python -m appliance.releases try`: an installer, and a release that goes over to this one, ask."""

import sys

from appliance.releases.installed import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

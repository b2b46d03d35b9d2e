"""`python -m appliance` is `echocart`."""

from appliance.cli import main

main()

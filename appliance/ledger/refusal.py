"""Why a person's word isn't taken: two ways, each told on the page with what to do."""

from appliance.errors import LedgerError


class Stale(LedgerError):
    """What was decided on is no longer what stands: the page must show the present state first."""


class Conflict(LedgerError):
    """What stands doesn't allow it, until somebody has settled that first."""

"""Tables that have modules of their own: what adds each to the ledger's migrations."""

from appliance.ledger import (
    command_tables,
    delivery_tables,
    drift_tables,
    release_tables,
    result_tables,
    review_tables,
    shadow_tables,
    token_tables,
    upstream_tables,
)

REGISTER = tuple(
    module.register
    for module in (
        delivery_tables,
        token_tables,
        review_tables,
        upstream_tables,
        result_tables,
        command_tables,
        release_tables,
        shadow_tables,
        drift_tables,
    )
)

"""Released models on trial, as the engine's loop sees them: one before it draws, one since lately."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from appliance.config import Settings
from appliance.engine.probation import Probation
from appliance.engine.shadow import Shadow
from appliance.ledger import Ledger, trial
from appliance.releases import promotion


class Trials:
    """Watches the promoted model, and has the candidate draw in the shadow.

    Parameters
    ----------
    ledger, settings
        The box's.
    """

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger, self._settings = ledger, settings
        self._probation, self._shadow = Probation(ledger, settings), Shadow(ledger, settings)

    def begin(self) -> None:
        """At a start, before a model is loaded and a lease freed: how the last engine ended counts."""
        self._probation.begin()

    def look(self) -> None:
        """Between two loops: at most every ten seconds, and never for long."""
        self._probation.look()
        self._shadow.look()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Around loading models: a promoted one that ends the engine is known at the next start."""
        promoted = promotion.promoted_in_force(self._ledger, self._settings)
        with trial.loading(self._ledger, promoted[0]["name"]) if promoted else nullcontext():
            yield

    def held(self) -> AbstractContextManager[None]:
        """Around the engine's own work: the candidate is held meanwhile."""
        return self._shadow.held()

    def close(self) -> None:
        """End what was begun."""
        self._shadow.close()

"""Which model the engine runs: looked at between two loops, changed without a restart."""

import logging

from appliance import model_store
from appliance.config import Settings
from appliance.engine.backend import Backend, open_backend
from appliance.errors import ApplianceError
from appliance.ledger import Ledger
from appliance.manifest import Manifest

log = logging.getLogger("echocart.engine")

Loaded = tuple[Manifest, Backend]


class Choice:
    """Loads the chosen model, and again whenever another one is chosen.

    Parameters
    ----------
    ledger, settings
        The box's. What was chosen while running goes over the TOML file.
    """

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger, self._settings = ledger, settings
        self._seen = ""

    def first(self) -> Loaded:
        """Load the model to start with.

        Raises
        ------
        ManifestError, BackendError
            When neither the chosen model nor the TOML file's can be run here.
        """
        self._seen = model_store.chosen(self._ledger, self._settings)
        own = self._settings.engine.model
        if self._seen != own:
            try:
                return self._open(self._seen)
            except ApplianceError as error:
                log.error("the chosen model is not used, the configured one is: %s", error)
        return self._open(own)

    def newer(self) -> Loaded | None:
        """Return another model when one has been chosen since and can be run; None otherwise.

        One that can't be run is said once, and the one in use stays.
        """
        name = model_store.chosen(self._ledger, self._settings)
        if name == self._seen:
            return None
        self._seen = name
        try:
            return self._open(name)
        except ApplianceError as error:
            log.error("the newly chosen model is not used, the old one goes on: %s", error)
            return None

    def _open(self, name: str) -> Loaded:
        manifest = model_store.load(self._settings.box.state_dir, name)
        return manifest, open_backend(manifest, self._settings.engine)

"""Which model the engine runs: looked at between two loops, changed without a restart."""

import logging

from appliance import model_store
from appliance.config import Settings
from appliance.engine.backend import Backend, open_backend
from appliance.engine.tensorrt import WithCpu, with_gpu
from appliance.engine.view import ViewGate
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, engine_state, setting
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
        self._loaded: Loaded | None = None
        self._told: tuple[str, ...] = ()
        self._retries = len(setting.history(ledger, setting.RETRY))

    def first(self) -> Loaded:
        """Load the model to start with.

        Raises
        ------
        ManifestError, BackendError
            When neither the chosen model nor the TOML file's can be run here.
        """
        self._seen = model_store.chosen(self._ledger, self._settings)
        own = self._settings.engine.model
        loaded = None
        if self._seen != own:
            try:
                loaded = self._open(self._seen)
            except ApplianceError as error:
                log.error("the chosen model is not used, the configured one is: %s", error)
        self._loaded = loaded or self._open(own)
        self._tell()
        return self._loaded

    def newer(self) -> Loaded | None:
        """Return what to go on with when it has changed; None otherwise.

        That is another model that has been chosen since and can be run, or a GPU that has become
        ready or was given up. A model that can't be run is said once, and the one in use stays.
        """
        name = model_store.chosen(self._ledger, self._settings)
        if name == self._seen:
            return self._gpu_turn()
        self._seen = name
        try:
            loaded = self._open(name)
        except ApplianceError as error:
            log.error("the newly chosen model is not used, the old one goes on: %s", error)
            return None
        self.close()
        self._loaded = loaded
        self._tell()
        return loaded

    def close(self) -> None:
        """End what the backend in use has started."""
        if gpu := self._gpu():
            gpu.close()

    def _open(self, name: str) -> Loaded:
        state_dir = self._settings.box.state_dir
        manifest = model_store.load(state_dir, name)
        ViewGate(manifest)  # what can't be run is refused here, not with a loop in hand
        engine = self._settings.engine
        return manifest, with_gpu(manifest, open_backend(manifest, engine), engine, state_dir)

    def _gpu(self) -> WithCpu | None:
        backend = self._loaded[1] if self._loaded else None
        return backend if isinstance(backend, WithCpu) else None

    def _gpu_turn(self) -> Loaded | None:
        """Let the GPU take over or be tried again, between two loops."""
        gpu = self._gpu()
        if gpu is None:
            return None
        retries = len(setting.history(self._ledger, setting.RETRY))
        if retries != self._retries:
            self._retries = retries
            gpu.again()
        gpu.settle()
        return self._loaded if self._tell() else None

    def _tell(self) -> bool:
        """Write down which engine serves, and why; True when another one does than was told."""
        assert self._loaded is not None
        manifest, backend = self._loaded
        gpu = self._gpu()
        now = (model_store.name_of(manifest), backend.name, backend.precision)
        detail = gpu.state if gpu else ""
        if (*now, detail) == self._told:
            return False
        changed = now != self._told[:3]
        self._told = (*now, detail)
        engine_state.put(self._ledger, *now, detail)
        return changed

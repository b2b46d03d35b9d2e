"""Which models the engine runs: looked at between two loops, changed without a restart."""

import logging
from collections.abc import Callable, Sequence

from appliance import model_store
from appliance.config import Settings
from appliance.engine.backend import Backend, open_backend
from appliance.engine.models import Model, Models
from appliance.engine.tensorrt import with_gpu
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, engine_state, setting
from appliance.ledger.engine_state import ModelState

log = logging.getLogger("echocart.engine")


class Choice:
    """Loads the chosen models, and again whenever others are chosen.

    Parameters
    ----------
    ledger, settings
        The box's. What was chosen while running goes over the TOML file.
    """

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger, self._settings = ledger, settings
        self._seen: tuple[str, ...] = ()
        self._models: Models | None = None
        self._told: tuple[Sequence[ModelState], str] = ((), "")
        self._retries = len(setting.history(ledger, setting.RETRY))

    def first(self) -> Models:
        """Load the models to start with.

        Raises
        ------
        ManifestError, BackendError
            When none of those chosen, nor of the TOML file's, can be run here.
        """
        self._seen = model_store.chosen(self._ledger, self._settings)
        own = model_store.configured(self._settings)
        if self._seen != own:
            try:
                self._models = self._opened(self._seen)
            except ApplianceError as error:
                log.error("the chosen model is not used, the configured one is: %s", error)
        self._models = self._models or self._opened(own)
        self._tell()
        return self._models

    def newer(self) -> Models | None:
        """Return what to go on with when it has changed; None otherwise.

        That is other models that have been chosen since and can be run, or a GPU that has become
        ready or was given up. When none of the newly chosen can be run, that is said once, and
        those in use stay.
        """
        names = model_store.chosen(self._ledger, self._settings)
        if names == self._seen:
            return self._turn()
        self._seen = names
        try:
            models = self._opened(names)
        except ApplianceError as error:
            log.error("the newly chosen model is not used, the old one goes on: %s", error)
            return None
        kept = {id(model) for model in models}
        for model in self._models or ():
            if id(model) not in kept:
                model.unload()
        self._models = models
        self._tell()
        return models

    def close(self) -> None:
        """End what the backends in use have started."""
        for model in self._models or ():
            model.unload()

    def _opened(self, names: Sequence[str]) -> Models:
        """Load models; one that is broken is left out and said, unless it is the only one."""
        models: list[Model] = []
        missing: list[ModelState] = []
        reasons: list[ApplianceError] = []
        for name in model_store.resolved(names):
            try:
                models.append(self._model(name))
            except ApplianceError as error:
                reasons.append(error)
                missing.append(ModelState(name, problem=error.subject))
        if not models:
            raise reasons[0]
        made = Models(models, missing)
        made.load()
        for reason in reasons:
            log.error("a model is not used, the others are: %s", reason)
        return made

    def _model(self, name: str) -> Model:
        for model in self._models or ():
            if model.name == name and not model.problem:
                return model
        manifest = model_store.load(self._settings.box.state_dir, name)
        model_store.must_fit(manifest)
        return Model(manifest, self._compiler(name))

    def _compiler(self, name: str) -> Callable[[], Backend]:
        state_dir, engine = self._settings.box.state_dir, self._settings.engine

        def compiled() -> Backend:
            # Read again: it may be long since the engine's start, and files break.
            manifest = model_store.load(state_dir, name)
            return with_gpu(manifest, open_backend(manifest, engine), engine, state_dir)

        return compiled

    def _turn(self) -> Models | None:
        """Let a GPU take over, and what failed be tried again, between two loops."""
        assert self._models is not None
        retries = len(setting.history(self._ledger, setting.RETRY))
        if retries != self._retries:
            self._retries = retries
            self._models.again()
        self._models.settle()
        return self._models if self._tell() else None

    def _tell(self) -> bool:
        """Write down which models serve on what, and why; True when that is told anew."""
        assert self._models is not None
        now, detail = self._models.in_force(), self._models.gpu_state()
        if (now, detail) == self._told:
            return False
        changed = now != self._told[0]
        self._told = (now, detail)
        engine_state.put(self._ledger, now, detail)
        return changed

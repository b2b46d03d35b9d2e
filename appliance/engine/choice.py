"""Which models the engine runs: looked at between two loops, changed without a restart."""

import logging
from collections.abc import Callable, Sequence

from appliance.config import Settings
from appliance.engine.backend import Backend, open_backend
from appliance.engine.models import Model, Models
from appliance.engine.tensorrt import with_gpu
from appliance.engine.trials import Trials
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, engine_state, setting
from appliance.ledger.engine_state import ModelState
from appliance.releases import model_store

log = logging.getLogger("echocart.engine")


class _NoneUsable(Exception):
    """None of several models can be run: the first one's reason, and every one's for the ledger."""

    def __init__(self, reason: ApplianceError, states: Sequence[ModelState]) -> None:
        super().__init__(str(reason))
        self.reason, self.states = reason, states


class Choice:
    """Loads the chosen models, and again whenever others are chosen.

    Parameters
    ----------
    ledger, settings
        The box's. What was chosen while running goes over the TOML file.

    Attributes
    ----------
    trials
        Released models that are to draw, or draw since lately.
    """

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger, self._settings = ledger, settings
        self.trials = Trials(ledger, settings)
        self._seen: tuple[str, ...] = ()
        self._models: Models | None = None
        self._failed: Sequence[ModelState] = ()  # of a choice none of which can be run
        self._told: tuple[Sequence[ModelState], str] = ((), "")
        self._wishes = self._counted()

    def first(self) -> Models:
        """Load the models to start with.

        Raises
        ------
        ManifestError, BackendError
            When none of those chosen, nor of the TOML file's, can be run here.
        """
        self.trials.begin()
        self._seen = model_store.chosen(self._ledger, self._settings)
        own = model_store.configured(self._settings)
        if self._seen != own:
            try:
                self._models = self._opened(self._seen)
            except _NoneUsable as error:
                log.error("the chosen model is not used, the configured one is: %s", error.reason)
                self._failed = error.states
        try:
            self._models = self._models or self._opened(own)
        except _NoneUsable as error:
            raise error.reason from error
        self._tell()
        return self._models

    def newer(self) -> Models | None:
        """Return what to go on with when it has changed; None otherwise.

        That is other models that have been chosen since and can be run, or a GPU that has become
        ready or was given up. When none of the newly chosen can be run, that is said once, and
        those in use stay.
        """
        self.trials.look()
        names = model_store.chosen(self._ledger, self._settings)
        wishes, before = self._counted(), self._wishes
        self._wishes = wishes
        assert self._models is not None
        # What was chosen and couldn't be loaded is looked for again with each new wish.
        lacking = bool(self._failed) or self._models.incomplete
        if names == self._seen and not (lacking and wishes != before):
            return self._turn(again=wishes != before)
        self._seen = names
        try:
            models = self._opened(names)
        except _NoneUsable as error:
            log.error("the newly chosen model is not used, the old one goes on: %s", error.reason)
            self._failed = error.states
            self._tell()
            return None
        self._failed = ()
        kept = {id(model) for model in models}
        for model in self._models or ():
            if id(model) not in kept:
                model.unload()
        self._models = models
        self._tell()
        return models

    def close(self) -> None:
        """End what the backends in use, and a candidate, have started."""
        self.trials.close()
        for model in self._models or ():
            model.unload()

    def _opened(self, names: Sequence[str]) -> Models:
        """Load models; one that is broken is left out and said.

        Raises
        ------
        _NoneUsable
            When all are.
        """
        models: list[Model] = []
        missing: list[ModelState] = []
        reasons: list[ApplianceError] = []
        try:
            resolved = model_store.resolved(names)
        except ApplianceError as error:  # the released default itself is broken
            lost = [ModelState(name or "the default", problem=error.subject) for name in names]
            raise _NoneUsable(error, lost) from error
        for name in resolved:
            try:
                models.append(self._model(name))
            except ApplianceError as error:
                reasons.append(error)
                missing.append(ModelState(name, problem=error.subject))
        made = Models(models, missing)
        try:
            if models:
                with self.trials.loading():
                    made.load()
        except ApplianceError as error:
            reasons.append(error)
        if all(model.problem for model in models):
            raise _NoneUsable(reasons[0], made.in_force())
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

    def _counted(self) -> int:
        """How often a person has asked: for models, or that something be tried again."""
        return sum(
            len(setting.history(self._ledger, name)) for name in (setting.MODEL, setting.RETRY)
        )

    def _turn(self, *, again: bool) -> Models | None:
        """Let a GPU take over, and what failed be tried again, between two loops."""
        assert self._models is not None
        if again:
            self._models.again()
        self._models.settle()
        return self._models if self._tell() else None

    def _tell(self) -> bool:
        """Write down which models serve on what, and why; True when that is told anew."""
        assert self._models is not None
        used = {model.name for model in self._models}
        failed = [item for item in self._failed if item.model not in used]
        now, detail = [*self._models.in_force(), *failed], self._models.gpu_state()
        if (now, detail) == self._told:
            return False
        changed = now != self._told[0]
        self._told = (now, detail)
        engine_state.put(self._ledger, now, detail)
        return changed

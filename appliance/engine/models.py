"""The models in force: each with its gate, in the order they are asked for a loop.

All gates are in memory, for every loop passes them. A network is compiled when a loop first needs
it; beside the first model's only the one used last stays, so that memory doesn't grow with models.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

from appliance.engine.backend import Backend
from appliance.engine.tensorrt import WithCpu
from appliance.engine.view import ViewGate
from appliance.errors import ApplianceError, BackendError
from appliance.ledger.engine_state import ModelState
from appliance.manifest import Manifest
from appliance.measures.chambers import draws_heart
from appliance.releases.model_store import name_of

log = logging.getLogger("echocart.engine")


class Model:
    """A model in force.

    Parameters
    ----------
    manifest
        The model.
    compiled
        Makes its backend; called when it is first needed, and again after `unload`.

    Raises
    ------
    BackendError
        When its view network can't be run.
    """

    def __init__(self, manifest: Manifest, compiled: Callable[[], Backend]) -> None:
        self.manifest = manifest
        self.name = name_of(manifest)
        self.gate = ViewGate(manifest)
        self.draws_heart = draws_heart(manifest.structures_as_dicts())
        self.problem = ""  # why it can't be used
        self._compiled = compiled
        self._backend: Backend | None = None

    @property
    def loaded(self) -> Backend | None:
        """The backend, where it is in memory."""
        return self._backend

    def backend(self) -> Backend:
        """Return the backend, compiled first where it isn't in memory.

        Raises
        ------
        ApplianceError
            When it can't be; `problem` says why from then on, and it isn't tried again.
        """
        if self.problem:
            raise BackendError(f"run {self.name}", self.problem, _AGAIN)
        if self._backend is None:
            try:
                self._backend = self._compiled()
            except ApplianceError as error:
                self.problem = error.subject
                raise
        return self._backend

    def unload(self) -> None:
        """Free its memory; its GPU process ends."""
        backend, self._backend = self._backend, None
        if isinstance(backend, WithCpu):
            backend.close()

    def in_force(self) -> ModelState:
        """Describe it for the ledger."""
        views = ", ".join(self.manifest.gates.views)
        if self._backend is None:
            return ModelState(self.name, views, problem=self.problem)
        return ModelState(self.name, views, self._backend.name, self._backend.precision)


class Models:
    """The models in force, in order.

    Parameters
    ----------
    models
        One at least.
    missing
        Those that are chosen and can't be loaded at all, for the ledger.
    """

    def __init__(self, models: Sequence[Model], missing: Sequence[ModelState] = ()) -> None:
        self._models, self._missing = tuple(models), tuple(missing)

    @classmethod
    def only(cls, manifest: Manifest, backend: Backend) -> "Models":
        """One model whose backend is there already."""
        return cls([Model(manifest, lambda: backend)])

    @property
    def incomplete(self) -> bool:
        """Whether some that are chosen can't be loaded at all."""
        return bool(self._missing)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    @property
    def first(self) -> Model:
        """The first that can be used."""
        return next((model for model in self._models if not model.problem), self._models[0])

    def load(self) -> Model:
        """Compile the first model that lets itself be; return it.

        Raises
        ------
        ApplianceError
            When none can be; the first one's reason.
        """
        reasons = []
        for model in self._models:
            try:
                model.backend()
            except ApplianceError as error:
                log.error("%s is not used: %s", model.name, error)
                reasons.append(error)
            else:
                return model
        raise reasons[0]

    def backend_of(self, model: Model) -> Backend:
        """Return a model's backend; what was compiled for another but the first one is freed.

        Raises
        ------
        ApplianceError
            When it can't be run.
        """
        if model.loaded is None:
            for other in self._models:
                if other is not self.first:
                    other.unload()
        return model.backend()

    def again(self) -> None:
        """Let models that couldn't be run, and the GPU, be tried again."""
        for model in self._models:
            model.problem = ""
            if isinstance(model.loaded, WithCpu):
                model.loaded.again()

    def settle(self) -> None:
        """Let a GPU that has become ready take over. Between two loops."""
        for model in self._models:
            if isinstance(model.loaded, WithCpu):
                model.loaded.settle()

    def gpu_state(self) -> str:
        """How it stands with the first model's GPU, in words; "" without one."""
        backend = self.first.loaded
        return backend.state if isinstance(backend, WithCpu) else ""

    def in_force(self) -> list[ModelState]:
        """Describe all, in order; last those that are missing."""
        return [*(model.in_force() for model in self._models), *self._missing]


_AGAIN = "`echocart engine retry` tries it again; `echocart model use` chooses others."

"""Which model draws a loop: the first in order whose gate takes it. No model, no mask."""

from collections.abc import Iterable
from dataclasses import dataclass

from appliance.cine import Cine
from appliance.engine.models import Model, Models
from appliance.engine.view import UNKNOWN, Frame, View, looked_at
from appliance.errors import BackendError
from appliance.sector import Sector
from appliance.views import APICAL, OTHER

SAID_OTHER = "A person has said that this is another view."
NOT_RECOGNISED = "No view that the model draws could be recognised in this loop."
NOT_DRAWN = "No model of this box draws this view ({view})."


class Refused(Exception):
    """The loop is kept and not analysed; `reason` is for a sonographer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Verdict:
    """What one model's gate says: why it doesn't draw the loop, or "" when it does.

    `network_sha256` is that of the view network behind `seen`; "" where none looked.
    """

    model: Model
    seen: View
    reason: str
    network_sha256: str = ""


class Admission:
    """Asks the models for one loop. Each view network looks once, however often it is asked.

    Parameters
    ----------
    models
        In order.
    cine, sector
        The loop.
    said
        What a person said it shows; "" when nobody did.
    """

    def __init__(self, models: Models, cine: Cine, sector: Sector, said: str) -> None:
        self._models, self._said = models, said
        self._cine, self._sector = cine, sector
        self._frames: list[Frame] | None = None
        self._seen: dict[str, View] = {}

    def likely(self) -> Model:
        """Return the model to begin with before any gate has looked."""
        usable = (model for model in self._models if not model.problem)
        fit = (m for m in usable if self._said not in APICAL or self._said in _views(m))
        return next(fit, self._models.first)

    def decide(self) -> Verdict:
        """Return the first usable model's verdict that draws the loop, else the best refusal.

        Raises
        ------
        BackendError
            When only models draw it that can't be run.
        """
        refusals = []
        for model in self._models:
            found = self._asked(model)
            if found.reason:
                refusals.append(found)
            elif not model.problem:
                return found
        broken = [model for model in self._models if not self._asked(model).reason]
        if broken:
            what = f"{broken[0].name}, which draws this view: {broken[0].problem}"
            hint = "`echocart engine retry` tries it again."
            raise BackendError("run a model", what, hint)
        return _best(refusals)

    def looked_at(self) -> list[Frame]:
        """Return the few small frames that view networks look at; decoded once."""
        if self._frames is None:
            self._frames = looked_at(self._cine, self._sector)
        return self._frames

    def _asked(self, model: Model) -> Verdict:
        network, seen = self._looking_for(model).manifest.view, self._look(model)
        reason = self._why_not(model, seen)
        if not reason and self._cine.frames < model.manifest.gates.min_frames:
            reason = too_short(self._cine)
        return Verdict(model, seen, reason, network.sha256 if network else "")

    def is_told(self, model: Model) -> bool:
        """Whether a person or a view network has said what the loop shows that a model draws."""
        return self._said in APICAL or bool(self._look(model).view)

    def _looking_for(self, model: Model) -> Model:
        """The model whose view network tells the views of this one: its own, else an earlier one."""
        if model.manifest.view is None:
            for earlier in self._models:
                network = earlier.manifest.view
                if earlier is model:
                    break
                if network and set(_views(model)) <= set(network.views):
                    return earlier
        return model

    def _look(self, model: Model) -> View:
        asked = self._looking_for(model)
        network = asked.manifest.view
        if network is None:
            return UNKNOWN
        key = network.model_dump_json()  # its limits too: two models may share the file alone
        if key not in self._seen:
            self._seen[key] = asked.gate.judge(self.looked_at())
        return self._seen[key]

    def _why_not(self, model: Model, seen: View) -> str:
        if self._said in APICAL:  # a person's word stands over any network's
            return "" if self._said in _views(model) else NOT_DRAWN.format(view=self._said)
        if self._said == OTHER and (not seen.view or seen.reason or seen.view in APICAL):
            return SAID_OTHER
        if seen.reason:
            return seen.reason if APICAL.keys() >= set(_views(model)) else NOT_RECOGNISED
        if seen.view and seen.view not in _views(model):
            return NOT_DRAWN.format(view=seen.view)
        return ""


def too_short(cine: Cine) -> str:
    """Say that a loop has too few frames."""
    return f"Only {cine.frames} frames: too short to hold a heartbeat."


def _views(model: Model) -> tuple[str, ...]:
    return model.manifest.gates.views


def _best(refusals: Iterable[Verdict]) -> Verdict:
    """A view that was recognised tells more than one that wasn't; then the first in order."""
    return min(refusals, key=lambda found: found.seen.reason != "")

"""What leaves for a delivery: an original, a result, or the objects of a correction, in order."""

from collections.abc import Sequence

from appliance.config import Settings
from appliance.errors import DeliveryError
from appliance.ledger import Ledger
from appliance.ledger.delivery import Delivery
from appliance.spool import Spool
from appliance.sync.findings import NothingToReport
from appliance.sync.form import Form
from appliance.sync.kept import KINDS, Kept
from appliance.sync.originals import original
from appliance.sync.results import Overtaken, Results
from appliance.sync.seg import Part10


class MustStay(DeliveryError):
    """The object must not leave the box, or there is none; `subject` says why."""


class Outgoing:
    """Builds what the couriers carry; the same objects every time.

    Parameters
    ----------
    ledger, spool
        The box's.
    settings
        The box's.
    """

    def __init__(self, ledger: Ledger, spool: Spool, settings: Settings) -> None:
        self._ledger, self._spool, self._settings = ledger, spool, settings
        releases = {
            item.name: item.fhir for item in settings.destination if item.kind in ("folder", "fhir")
        }
        self._kept = Kept(ledger, spool)
        forms = {item.name: Form.of(item) for item in settings.destination}
        self._results = Results(ledger, spool, settings.box.station_name, releases, forms)

    def __call__(self, delivery: Delivery) -> Sequence[Part10]:
        """Return the objects of a delivery in the order in which they must arrive.

        Raises
        ------
        MustStay
            When a correction can't be made nameless with certainty (promise 7), a report would
            be empty, or a bundle would be told over a later one.
        ApplianceError
            When the ledger or the spool don't give what is needed.
        """
        if delivery.kind == "original":
            return [original(self._ledger, self._spool, delivery)]
        if delivery.kind == "correction":
            return self._correction(delivery)
        try:
            if delivery.kind not in KINDS:
                return self._results.build(delivery)
            form = "" if delivery.kind == "overlay" else self._results.form(delivery).key
            return self._kept.objects(delivery, form, lambda: self._results.build(delivery))
        except (NothingToReport, Overtaken) as error:
            raise MustStay(error.operation, error.subject, error.hint) from error

    def _correction(self, delivery: Delivery) -> Sequence[Part10]:
        from appliance.sync.upstream import Corrections, Refused

        try:
            return Corrections(self._ledger, self._spool, self._settings).objects(delivery)
        except Refused as error:
            raise MustStay(error.operation, error.subject, error.hint) from error

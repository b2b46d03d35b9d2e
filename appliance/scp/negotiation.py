"""What we take: every storage class and transfer syntax a peer proposes, in its own first choice.

Beside them Verification, and the Storage Commitment Push Model: asked of us by a cart, reported
to us by an archive that takes the SCP role on an association it opens (PS3.4 J.3.3).

A catalogue of all classes and syntaxes would cost 34 ms for each association, and a class that
is missing in it silently loses images; so the answer is made from the proposal.
"""

from collections.abc import Sequence

from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from appliance.commitment import PUSH_MODEL

VERIFICATION = UID("1.2.840.10008.1.1")  # PS3.4 A.4: C-ECHO
COMMITMENT = UID(PUSH_MODEL)
_STORAGE_SERVICE = UID("1.2.840.10008.4.2")  # PS3.6 table A-1: the service class itself
# Never deflated: a few bytes could ask for all the memory there is.
_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
_NOT_OBJECTS = ("Storage Commitment", "Media Storage Directory")


def is_storage(SOPClassUID: UID) -> bool:
    """Tell whether objects of a class can be stored.

    Parameters
    ----------
    SOPClassUID
        Any UID, known or not.

    Returns
    -------
    bool
        True for every storage class of PS3.6, retired ones included, and for what PS3.6
        doesn't know: vendors' private classes and classes newer than this software.
    """
    name = SOPClassUID.name
    if name == str(SOPClassUID):  # pydicom repeats the UID when it has no name for it
        return True
    return "Storage" in name and not name.startswith(_NOT_OBJECTS)


def supported(
    proposed: Sequence[PresentationContext], reports_only: bool = False
) -> list[PresentationContext]:
    """Return the contexts to support so that each storage proposal is accepted.

    Parameters
    ----------
    proposed
        The peer's contexts, any number for one class.
    reports_only
        Whether the peer may store nothing.

    Returns
    -------
    list of PresentationContext
        One for each class, with the transfer syntaxes of all its proposals: pynetdicom
        keeps only the last of two that name the same class.
    """
    syntaxes: dict[UID, list[str | UID]] = {}
    for context in proposed:
        SOPClassUID = UID(context.abstract_syntax or "")
        service = SOPClassUID in (VERIFICATION, COMMITMENT)
        if service or (is_storage(SOPClassUID) and not reports_only):
            syntaxes.setdefault(SOPClassUID, []).extend(context.transfer_syntax)
    return [_context(SOPClassUID, wanted) for SOPClassUID, wanted in syntaxes.items()]


def _context(SOPClassUID: UID, syntaxes: list[str | UID]) -> PresentationContext:
    if SOPClassUID != COMMITMENT:
        return build_context(SOPClassUID, syntaxes)
    context = build_context(SOPClassUID, list(_PLAIN))
    context.scu_role = context.scp_role = True
    return context


def accept_proposals(event: Event, reports_only: bool = False) -> None:
    """Support what the peer proposes, each context in its first transfer syntax.

    Part of the handling of EVT_REQUESTED. No roles are set on our side for storage: the peer is
    SCU and we are SCP whatever it asks for, the default of PS3.7 D.3.3.4. For storage
    commitment it may take either.

    Parameters
    ----------
    event
        The request.
    reports_only
        Whether the peer may store nothing.
    """
    assoc = event.assoc
    request = assoc.requestor.primitive
    proposed = request.presentation_context_definition_list if request else []
    for context in proposed:
        # The first one is what the peer sends without transcoding. Narrowed here, a peer that
        # proposes one class twice (A then B, B then A) can send both, as it meant to.
        # None at all breaks PS3.8 9.3.2.2; the default syntax (PS3.5 10.1) serves it.
        known = context.transfer_syntax
        if context.abstract_syntax == COMMITMENT:
            known = [item for item in known if item in _PLAIN] or known
        first = [*known, ImplicitVRLittleEndian][0]
        context.transfer_syntax = [first]
    assoc.acceptor.supported_contexts = supported(proposed, reports_only)


def storage_services(event: Event) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    """Route the classes pynetdicom doesn't know to its storage service.

    Handler of EVT_SOP_COMMON (PS3.7 D.3.3.6), which pynetdicom also asks when the peer sent
    no such item: without an answer it aborts the association at the first private object.
    """
    services = {}
    for context in event.assoc.acceptor.supported_contexts:
        SOPClassUID = UID(context.abstract_syntax or "")
        if SOPClassUID in (VERIFICATION, COMMITMENT):
            continue
        if uid_to_service_class(SOPClassUID) is not StorageServiceClass:
            item = SOPClassCommonExtendedNegotiation()
            item.sop_class_uid = SOPClassUID
            item.service_class_uid = _STORAGE_SERVICE
            services[SOPClassUID] = item
    return services

"""Who may associate, and what for: an A-ASSOCIATE-RQ in, the answer out. No socket here.

The PDUs are pynetdicom's; the rules are ours. Sources: PS3.8 9.3.2 to 9.3.4, PS3.7 annex D.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext

from edgeai.dicom.arrival import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from edgeai.dicom.pdus import INVALID_PARAMETER, AssociationEnded
from edgeai.dicom.storage import VERIFICATION, accepted_syntax, image_classes

MAX_REQUEST_BYTES: Final = 256 * 1024
"""128 contexts with every transfer syntax there is are about half of this."""
_REMEMBERED: Final = 16
"""Requests whose reading is kept: a modality always sends the same one, and 128 contexts take 10 ms to read."""
_APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRule:
    """A modality that may associate: its AE title, and its address if that matters."""

    ae_title: str
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRules:
    """Who may associate. No peers: anyone."""

    ae_title: str
    require_called_ae_title: bool = False
    peers: tuple[PeerRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An association to be: ``contexts`` is context ID -> (SOP class UID, transfer syntax UID)."""

    calling_ae_title: str
    contexts: Mapping[int, tuple[str, str]]
    max_length: int
    answer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Why not; ``answer`` is the A-ASSOCIATE-RJ."""

    calling_ae_title: str
    why: str
    answer: bytes


def negotiate(request: bytes, rules: AssociationRules, *, address: str, full: bool) -> Accepted | Rejected:
    """Decide about one A-ASSOCIATE-RQ (the whole PDU).

    Args:
        request: the PDU, header included.
        rules: who may.
        address: the peer's IP address.
        full: whether as many associations as may be are open already.

    Raises:
        AssociationEnded: the bytes are no A-ASSOCIATE-RQ.
    """
    primitive, version = _decode(request)
    calling, called = primitive.calling_ae_title.strip(), primitive.called_ae_title.strip()
    if not version & 1:
        return _reject(calling, "a protocol version this side does not speak", 1, 2, 2)
    if str(primitive.application_context_name or "") != _APPLICATION_CONTEXT:
        return _reject(calling, "a foreign application context", 1, 1, 2)
    if rules.require_called_ae_title and called != rules.ae_title.strip():
        return _reject(calling, "it called another AE title", 1, 1, 7)
    if rules.peers and not any(_is_peer(rule, calling, address) for rule in rules.peers):
        return _reject(calling, "no peer rule allows it", 1, 1, 3)
    if full:
        return _reject(calling, "as many associations as may be are open", 2, 3, 2)
    with _foreign():
        return _accept(request)


@contextmanager
def _foreign() -> Iterator[None]:
    """Foreign bytes: pynetdicom raises whatever it stumbles over, at once or when a value is used."""
    try:
        yield
    except Exception as error:
        why = f"not an A-ASSOCIATE-RQ: {type(error).__name__}"
        raise AssociationEnded(why, abort_reason=INVALID_PARAMETER) from error


@lru_cache(_REMEMBERED)
def _decode(request: bytes) -> tuple[A_ASSOCIATE, int]:
    with _foreign():
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(request)
        return pdu.to_primitive(), pdu.protocol_version


def _is_peer(rule: PeerRule, calling: str, address: str) -> bool:
    if rule.ae_title.strip() != calling:
        return False
    if rule.host is None:
        return True
    here = _plain(address)
    try:
        return here in {_plain(str(found[4][0])) for found in socket.getaddrinfo(rule.host, None)}
    except OSError:
        return False  # a name that does not resolve is nobody's


def _plain(address: str) -> str:
    """An IPv4 address that came over an IPv6 socket is the same address."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _reject(calling: str, why: str, result: int, source: int, diagnostic: int) -> Rejected:
    primitive = A_ASSOCIATE()
    primitive.result, primitive.result_source, primitive.diagnostic = result, source, diagnostic
    pdu = A_ASSOCIATE_RJ()
    pdu.from_primitive(primitive)
    return Rejected(calling_ae_title=calling, why=why, answer=pdu.encode())


@lru_cache(_REMEMBERED)
def _accept(pdu_bytes: bytes) -> Accepted:
    request, _ = _decode(pdu_bytes)
    results, contexts = [], {}
    for proposed in request.presentation_context_definition_list:
        sop_class = str(proposed.abstract_syntax)
        syntax = accepted_syntax(sop_class, [str(uid) for uid in proposed.transfer_syntax])
        answer = PresentationContext()
        answer.context_id = proposed.context_id
        answer.abstract_syntax = proposed.abstract_syntax
        answer.transfer_syntax = [syntax or proposed.transfer_syntax[0]]
        known = sop_class == VERIFICATION or sop_class in image_classes()
        answer.result = 0 if syntax else 4 if known else 3  # PS3.8 table 9-18
        results.append(answer)
        if syntax:
            contexts[int(proposed.context_id)] = (sop_class, syntax)
    response = A_ASSOCIATE()
    response.application_context_name = UID(_APPLICATION_CONTEXT)
    response.calling_ae_title, response.called_ae_title = request.calling_ae_title, request.called_ae_title
    response.result, response.result_source = 0, 1
    response.presentation_context_definition_results_list = results
    response.user_information = _user_information()
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(response)
    return Accepted(
        calling_ae_title=request.calling_ae_title.strip(),
        contexts=contexts,
        max_length=_max_length(request),
        answer=pdu.encode(),
    )


def _user_information() -> list[object]:
    length = MaximumLengthNotification()
    length.maximum_length_received = 0  # no bound: fragments go straight to the file
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, implementation, version]


def _max_length(request: A_ASSOCIATE) -> int:
    for item in request.user_information:
        if isinstance(item, MaximumLengthNotification):
            return int(item.maximum_length_received or 0)
    return 0

"""Who may associate, and what for: an A-ASSOCIATE-RQ in, the answer out. No socket here.

Sources: PS3.8 9.3.2 to 9.3.4, PS3.7 annex D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from struct import Struct
from typing import Final

from edgeai.dicom.arrival import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from edgeai.dicom.hosts import Hosts, plain
from edgeai.dicom.pdus import HEADER
from edgeai.dicom.proposal import (
    APPLICATION_CONTEXT,
    MAXIMUM_LENGTH,
    TRANSFER_SYNTAX,
    USER_INFORMATION,
    Proposal,
    ProposedContext,
    read_proposal,
)
from edgeai.dicom.storage import IMAGE_CLASSES, VERIFICATION, accepted_syntax

_APPLICATION_CONTEXT_UID: Final = "1.2.840.10008.3.1.1.1"
_IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
_ASSOCIATE_AC: Final = 2
_ASSOCIATE_RJ: Final = 3
_ANSWERED_CONTEXT: Final = 0x21
_IMPLEMENTATION_CLASS: Final = 0x52
_IMPLEMENTATION_VERSION: Final = 0x55
_ITEM: Final = Struct(">BxH")
_ACCEPTANCE, _NO_ABSTRACT_SYNTAX, _NO_TRANSFER_SYNTAX = 0, 3, 4  # PS3.8 table 9-18


class Reason(StrEnum):
    """Why an association did not come about. Stable: they stand in events, and count in metrics."""

    TOO_MANY = "too-many"
    RESERVED = "reserved"
    PER_ADDRESS = "per-address"
    EVICTED = "evicted"
    TIMED_OUT = "timed-out"
    TLS = "tls"
    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported"
    CALLED_AE_TITLE = "called-ae-title"
    NOT_A_PEER = "not-a-peer"


WHY: Final[Mapping[Reason, str]] = {
    Reason.TOO_MANY: "as many associations as may be are open",
    Reason.RESERVED: "the associations that are left are kept for known peers",
    Reason.PER_ADDRESS: "its address has as many associations as one may have",
    Reason.EVICTED: "it had not negotiated yet, and others needed the room",
    Reason.TIMED_OUT: "it did not negotiate in time",
    Reason.TLS: "the TLS handshake failed",
    Reason.MALFORMED: "it sent no proper A-ASSOCIATE-RQ",
    Reason.UNSUPPORTED: "a protocol version or application context that this side does not speak",
    Reason.CALLED_AE_TITLE: "it called another AE title",
    Reason.NOT_A_PEER: "no peer rule allows it",
}
"""Each reason as a sentence about the peer."""

_DIAGNOSTICS: Final[Mapping[Reason, tuple[int, int, int]]] = {
    Reason.TOO_MANY: (2, 3, 2),
    Reason.RESERVED: (2, 3, 2),
    Reason.PER_ADDRESS: (2, 3, 2),
    Reason.EVICTED: (2, 3, 2),
    Reason.CALLED_AE_TITLE: (1, 1, 7),
    Reason.NOT_A_PEER: (1, 1, 3),
}
"""Result, source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""


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

    def hosts(self) -> Hosts:
        """The addresses of the peers that have one."""
        return Hosts(rule.host for rule in self.peers if rule.host is not None)


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
    reason: Reason
    answer: bytes


def _room() -> None:
    return None


def negotiate(
    request: bytes,
    rules: AssociationRules,
    *,
    address: str,
    hosts: Hosts,
    admit: Callable[[], Reason | None] = _room,
) -> Accepted | Rejected:
    """Decide about one A-ASSOCIATE-RQ (the whole PDU).

    Args:
        request: the PDU, header included.
        rules: who may.
        address: the peer's IP address.
        hosts: the addresses of the rules' peers.
        admit: takes a place for it, or says why there is none; asked last, when everything else is well.

    Raises:
        AssociationEnded: the bytes are no A-ASSOCIATE-RQ.
    """
    proposal = read_proposal(request)
    calling = proposal.calling_ae_title
    if not proposal.protocol_version & 1:
        return _reject(calling, Reason.UNSUPPORTED, (1, 2, 2))
    if proposal.application_context != _APPLICATION_CONTEXT_UID:
        return _reject(calling, Reason.UNSUPPORTED, (1, 1, 2))
    if rules.require_called_ae_title and proposal.called_ae_title != rules.ae_title.strip():
        return _reject(calling, Reason.CALLED_AE_TITLE)
    if rules.peers and not any(_is_peer(rule, calling, address, hosts) for rule in rules.peers):
        return _reject(calling, Reason.NOT_A_PEER)
    refusal = admit()
    if refusal is not None:
        return _reject(calling, refusal)
    return _accept(request, proposal)


def _is_peer(rule: PeerRule, calling: str, address: str, hosts: Hosts) -> bool:
    if rule.ae_title.strip() != calling:
        return False
    if rule.host is None:
        return True
    return plain(address) in hosts.addresses(rule.host)


def _reject(calling: str, reason: Reason, diagnostic: tuple[int, int, int] | None = None) -> Rejected:
    result, source, why = diagnostic or _DIAGNOSTICS[reason]
    answer = HEADER.pack(_ASSOCIATE_RJ, 4) + bytes([0, result, source, why])
    return Rejected(calling_ae_title=calling, reason=reason, answer=answer)


def _accept(request: bytes, proposal: Proposal) -> Accepted:
    contexts: dict[int, tuple[str, str]] = {}
    items = [_item(APPLICATION_CONTEXT, _APPLICATION_CONTEXT_UID.encode("ascii"))]
    for proposed in proposal.contexts:
        syntax = accepted_syntax(proposed.abstract_syntax, list(proposed.transfer_syntaxes))
        items.append(_answered(proposed, syntax))
        if syntax:
            contexts[proposed.context_id] = (proposed.abstract_syntax, syntax)
    items.append(_user_information())
    # Protocol version 1; titles and reserved fields as they came (PS3.8 table 9-17).
    body = b"\0\1" + request[HEADER.size + 2 : HEADER.size + 68] + b"".join(items)
    return Accepted(
        calling_ae_title=proposal.calling_ae_title,
        contexts=contexts,
        max_length=proposal.max_length,
        answer=HEADER.pack(_ASSOCIATE_AC, len(body)) + body,
    )


def _answered(proposed: ProposedContext, syntax: str | None) -> bytes:
    known = proposed.abstract_syntax == VERIFICATION or proposed.abstract_syntax in IMAGE_CLASSES
    result = _ACCEPTANCE if syntax else _NO_TRANSFER_SYNTAX if known else _NO_ABSTRACT_SYNTAX
    # Of a context that is not accepted the transfer syntax says nothing (PS3.8 9.3.3.2), and must be there.
    name = _item(TRANSFER_SYNTAX, (syntax or _IMPLICIT_LITTLE).encode("ascii"))
    return _item(_ANSWERED_CONTEXT, bytes([proposed.context_id, 0, result, 0]) + name)


def _user_information() -> bytes:
    return _item(
        USER_INFORMATION,
        _item(MAXIMUM_LENGTH, bytes(4))  # no bound: fragments go straight to the file
        + _item(_IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.encode("ascii"))
        + _item(_IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION_NAME.encode("ascii")),
    )


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value

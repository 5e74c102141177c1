"""An A-ASSOCIATE-RQ, walked item by item within bounds: whoever sends it has not been let in yet.

pynetdicom decodes every item into objects of its own before anyone can look: 256 KiB of doubled presentation
contexts took it seconds of CPU. Source: PS3.8 9.3.2, and annex D of PS3.7 for the user information.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from edgeai.dicom.pdus import HEADER, INVALID_PARAMETER, AssociationEnded

MAX_REQUEST_BYTES: Final = 256 * 1024
"""128 contexts with every transfer syntax that the Standard ever had are 217 KB."""
MAX_ITEMS: Final = 10_000
"""Items and sub-items of one request; the same 128 contexts have 8,320."""
MAX_SYNTAXES: Final = 128
"""Transfer syntaxes of one context, twice as many as the Standard ever had."""
MAX_USER_ITEMS: Final = 512
"""User information: a role selection and two extended negotiations for each of 128 contexts, and the rest."""

_FIXED_BYTES: Final = 68
_ITEM: Final = Struct(">BxH")
_UINT32: Final = Struct(">L")
_UID_BYTES: Final = 65  # 64, and the padding that does not belong there and is seen

APPLICATION_CONTEXT: Final = 0x10
PRESENTATION_CONTEXT: Final = 0x20
ABSTRACT_SYNTAX: Final = 0x30
TRANSFER_SYNTAX: Final = 0x40
USER_INFORMATION: Final = 0x50
MAXIMUM_LENGTH: Final = 0x51


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedContext:
    """One presentation context: what for, and in which encodings, best first."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a peer asks for. ``max_length`` is its Maximum Length Received, 0 for no bound."""

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    max_length: int


class Budget:
    """How many items may still be walked; bounds the time, whatever the lengths say."""

    def __init__(self, items: int = MAX_ITEMS) -> None:
        self.left = items

    def spend(self) -> None:
        """One item. Raises ``AssociationEnded`` when there are too many."""
        self.left -= 1
        if self.left < 0:
            raise malformed("more items than any request has")


def malformed(why: str) -> AssociationEnded:
    """What is wrong with a request, answered by an A-ABORT for an invalid PDU parameter."""
    return AssociationEnded(f"not an A-ASSOCIATE-RQ: {why}", abort_reason=INVALID_PARAMETER)


def read_proposal(request: bytes, budget: Budget | None = None) -> Proposal:
    """Read one A-ASSOCIATE-RQ (the whole PDU).

    Raises:
        AssociationEnded: the bytes are no A-ASSOCIATE-RQ, or more of one than there can be.
    """
    budget = budget or Budget()
    body = memoryview(request)[HEADER.size :]
    if len(body) < _FIXED_BYTES:
        raise malformed("it is too short")
    application_context, max_length = "", 0
    contexts: dict[int, ProposedContext] = {}
    for kind, value in _items(body[_FIXED_BYTES:], budget):
        if kind == APPLICATION_CONTEXT:
            application_context = application_context or _uid(value)
        elif kind == PRESENTATION_CONTEXT:
            context = _context(value, budget)
            if context.context_id in contexts:
                raise malformed("two presentation contexts with one ID")
            contexts[context.context_id] = context
        elif kind == USER_INFORMATION:
            max_length = _max_length(value, budget)
        # PS3.8 9.3.1: items that are not recognised are ignored.
    if not contexts:
        raise malformed("it proposes nothing")
    return Proposal(
        protocol_version=int.from_bytes(body[:2], "big"),
        called_ae_title=_ae_title(body[4:20]),
        calling_ae_title=_ae_title(body[20:36]),
        application_context=application_context,
        contexts=tuple(contexts.values()),
        max_length=max_length,
    )


def _items(view: memoryview, budget: Budget) -> Iterator[tuple[int, memoryview]]:
    """(type, value) of each item; their lengths must fill ``view`` exactly."""
    position = 0
    while position < len(view):
        budget.spend()
        if len(view) - position < _ITEM.size:
            raise malformed("bytes that are no item")
        kind, length = _ITEM.unpack_from(view, position)
        end = position + _ITEM.size + length
        if end > len(view):
            raise malformed("an item longer than what holds it")
        yield kind, view[position + _ITEM.size : end]
        position = end


def _context(value: memoryview, budget: Budget) -> ProposedContext:
    if len(value) < 4 or value[0] % 2 == 0:
        raise malformed("a presentation context without an odd ID")
    abstract_syntax, syntaxes = "", []
    for kind, uid in _items(value[4:], budget):
        if kind == ABSTRACT_SYNTAX:
            abstract_syntax = abstract_syntax or _uid(uid)
        elif kind == TRANSFER_SYNTAX:
            syntaxes.append(_uid(uid))
            if len(syntaxes) > MAX_SYNTAXES:
                raise malformed("more transfer syntaxes than there are")
    if not abstract_syntax or not syntaxes:
        raise malformed("a presentation context without abstract or transfer syntax")
    return ProposedContext(
        context_id=value[0], abstract_syntax=abstract_syntax, transfer_syntaxes=tuple(dict.fromkeys(syntaxes))
    )


def _max_length(value: memoryview, budget: Budget) -> int:
    max_length = 0
    for number, (kind, item) in enumerate(_items(value, budget)):
        if number >= MAX_USER_ITEMS:
            raise malformed("more user information than any request has")
        if kind == MAXIMUM_LENGTH:
            if len(item) != _UINT32.size:
                raise malformed("a Maximum Length that is none")
            max_length = _UINT32.unpack(item)[0]
    return max_length


def _uid(value: memoryview) -> str:
    """The UID; one with strange characters is like none that is known, which is an answer too."""
    if len(value) > _UID_BYTES:
        raise malformed("a UID of more than 64 characters")
    return bytes(value).decode("ascii", "replace").strip("\0 ")


def _ae_title(value: memoryview) -> str:
    """PS3.5 6.2, AE: printable ASCII without the backslash; padded with spaces, and by some with NUL."""
    title = bytes(value).decode("latin-1").strip("\0 ")
    if not title or not all(" " <= character <= "~" and character != "\\" for character in title):
        raise malformed("an AE title that is none")
    return title

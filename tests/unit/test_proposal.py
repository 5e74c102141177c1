"""A-ASSOCIATE-RQ read within bounds: what pynetdicom writes is read alike, and what nobody means is refused early."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary
from pynetdicom import AE, sop_class
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.presentation import build_context

from edgeai.dicom.negotiation import Accepted, AssociationRules, Reason, Rejected, negotiate
from edgeai.dicom.pdus import INVALID_PARAMETER, AssociationEnded
from edgeai.dicom.proposal import MAX_ITEMS, MAX_REQUEST_BYTES, Budget, read_proposal
from edgeai.testing.dicom_peers import CR, EXPLICIT, IMPLICIT, Receiving, Wire, associate_rq

RULES = AssociationRules(ae_title="EDGEAI")
SYNTAXES = [uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"]
CLASSES = [str(uid) for uid in sop_class._STORAGE_CLASSES.values()][:128]


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def context(number: int, *parts: bytes) -> bytes:
    return item(0x20, bytes([number, 0, 0, 0]) + b"".join(parts))


ABSTRACT, SYNTAX = item(0x30, CR.encode()), item(0x40, EXPLICIT.encode())
SOUND = context(1, ABSTRACT, SYNTAX)
APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
USER = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))


def request(*items: bytes, calling: bytes = b"WIRE", version: int = 1) -> bytes:
    body = struct.pack(">Hxx", version) + b"EDGEAI".ljust(16) + calling.ljust(16) + bytes(32) + b"".join(items)
    return struct.pack(">BxL", 1, len(body)) + body


def decide(pdu: bytes) -> Accepted | Rejected:
    return negotiate(pdu, RULES, address="192.0.2.1", hosts=RULES.hosts())


def decoded(answer: bytes) -> Any:
    pdu = A_ASSOCIATE_AC()
    pdu.decode(answer)
    return pdu.to_primitive()


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.sampled_from(CLASSES), st.sets(st.sampled_from(SYNTAXES), min_size=1)), min_size=1, max_size=9
    ),
    st.integers(0, 1 << 31),
)
def test_a_request_of_pynetdicom_is_read_as_pynetdicom_reads_it(
    proposed: list[tuple[str, set[str]]], max_length: int
) -> None:
    contexts: Any = tuple((abstract, sorted(syntaxes)) for abstract, syntaxes in proposed)
    encoded = associate_rq(contexts, max_length)
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(encoded)
    theirs, ours = pdu.to_primitive(), read_proposal(encoded)
    assert (ours.calling_ae_title, ours.called_ae_title) == (theirs.calling_ae_title, theirs.called_ae_title)
    assert ours.application_context == theirs.application_context_name
    assert ours.max_length == max_length
    assert [(each.context_id, each.abstract_syntax, list(each.transfer_syntaxes)) for each in ours.contexts] == [
        (each.context_id, each.abstract_syntax, [str(uid) for uid in each.transfer_syntax])
        for each in theirs.presentation_context_definition_list
    ]
    answer = decoded(decide(encoded).answer)
    assert answer.calling_ae_title == theirs.calling_ae_title
    assert [each.context_id for each in answer.presentation_context_definition_results_list] == [
        each.context_id for each in ours.contexts
    ]


@pytest.mark.slow
def test_128_contexts_with_every_transfer_syntax_are_accepted(station: Receiving) -> None:
    station.start()
    assert len(CLASSES) == 128
    entity = AE(ae_title="GREEDY")
    entity.requested_contexts = [build_context(uid, SYNTAXES) for uid in CLASSES]
    association = entity.associate("127.0.0.1", station.port)
    assert association.is_established
    assert len(association.accepted_contexts) > 50
    assert len(association.accepted_contexts) + len(association.rejected_contexts) == 128
    association.release()


MANY = MAX_REQUEST_BYTES // 4 - 100
REFUSED = {
    "two contexts with one id": [APPLICATION, SOUND, SOUND, USER],
    "an even id": [APPLICATION, context(2, ABSTRACT, SYNTAX), USER],
    "id zero": [APPLICATION, context(0, ABSTRACT, SYNTAX), USER],
    "129 contexts": [APPLICATION, *(context(2 * n + 1 & 255, ABSTRACT, SYNTAX) for n in range(129)), USER],
    "as many contexts as fit": [APPLICATION, SOUND * (260_000 // len(SOUND)), USER],
    "no context": [APPLICATION, USER],
    "no abstract syntax": [APPLICATION, context(1, SYNTAX), USER],
    "no transfer syntax": [APPLICATION, context(1, ABSTRACT), USER],
    "an empty transfer syntax alone": [APPLICATION, context(1, ABSTRACT, item(0x40, b"")) + b"\0", USER],
    "a context of three bytes": [APPLICATION, item(0x20, b"\1\0\0"), USER],
    "129 transfer syntaxes": [APPLICATION, context(1, ABSTRACT, SYNTAX * 129), USER],
    "empty transfer syntaxes without end": [APPLICATION, context(1, ABSTRACT, item(0x40, b"") * 16_000), USER],
    "user information without end": [APPLICATION, SOUND, item(0x50, item(0x55, b"") * 16_000)],
    "unknown items without end": [APPLICATION, SOUND, item(0x77, b"") * MANY],
    "unknown sub-items without end": [APPLICATION, context(1, ABSTRACT, SYNTAX, item(0x77, b"") * 16_000), USER],
    "an item longer than the request": [APPLICATION, SOUND, struct.pack(">BxH", 0x50, 0xFFFF)],
    "a sub-item longer than its item": [APPLICATION, context(1, ABSTRACT, struct.pack(">BxH", 0x40, 0xFFFF) + b"1.2")],
    "a UID of 60,000 characters": [APPLICATION, context(1, ABSTRACT, item(0x40, b"1" * 60_000))],
    "bytes that are no item": [APPLICATION, SOUND, USER, b"\0\0"],
    "a Maximum Length of two bytes": [APPLICATION, SOUND, item(0x50, item(0x51, b"\0\0"))],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_request_has_is_refused_after_few_items(name: str) -> None:
    budget = Budget()
    with pytest.raises(AssociationEnded) as caught:
        read_proposal(request(*REFUSED[name]), budget)
    assert caught.value.abort_reason == INVALID_PARAMETER
    walked = MAX_ITEMS - budget.left
    assert walked <= (MAX_ITEMS + 1 if "unknown" in name else 520)


@pytest.mark.parametrize("calling", [b"", b"A\\B", b"A\nB", b"\xe4", b"A\0B", b"A\x7f"])
def test_an_ae_title_that_is_none_is_refused(calling: bytes) -> None:
    with pytest.raises(AssociationEnded):
        read_proposal(request(APPLICATION, SOUND, USER, calling=calling))


@pytest.mark.parametrize(
    "items",
    [
        [APPLICATION, SOUND, USER, item(0x77, b"unknown")],
        [APPLICATION, context(1, ABSTRACT, item(0x77, b"unknown"), SYNTAX), USER],
        [APPLICATION, SOUND, item(0x50, item(0x77, b"unknown") + item(0x52, b"1.2.3"))],
        [APPLICATION, SOUND],
        [USER, SOUND, APPLICATION],
        [APPLICATION, context(1, item(0x30, CR.encode() + b"\0"), item(0x40, EXPLICIT.encode() + b" ")), USER],
        [APPLICATION, context(1, ABSTRACT, item(0x40, b"1.02.3"), item(0x40, b"\xff"), SYNTAX), USER],
    ],
)
def test_what_is_odd_and_harmless_is_accepted(items: list[bytes]) -> None:
    outcome = decide(request(*items, calling=b"WIRE\0\0\0"))
    assert isinstance(outcome, Accepted)
    assert (outcome.calling_ae_title, outcome.contexts) == ("WIRE", {1: (CR, EXPLICIT)})


def test_a_context_with_strange_uids_is_not_accepted_and_the_others_are() -> None:
    strange = context(3, item(0x30, b"strange"), item(0x40, b"stranger"))
    outcome = decide(request(APPLICATION, SOUND, strange, context(5, ABSTRACT, item(0x40, b"1.2.3")), USER))
    assert isinstance(outcome, Accepted)
    results = decoded(outcome.answer).presentation_context_definition_results_list
    assert [(each.context_id, each.result) for each in results] == [(1, 0), (3, 3), (5, 4)]
    assert list(outcome.contexts) == [1]


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        (request(APPLICATION, SOUND, USER, version=2), (1, 2, 2)),
        (request(item(0x10, b"1.2.3"), SOUND, USER), (1, 1, 2)),
        (request(SOUND, USER), (1, 1, 2)),
    ],
)
def test_another_protocol_is_rejected(pdu: bytes, answer: tuple[int, int, int]) -> None:
    outcome = decide(pdu)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == Reason.UNSUPPORTED
    assert outcome.answer == struct.pack(">BxLxBBB", 3, 4, *answer)


@pytest.mark.slow
@given(st.data())
def test_whatever_comes_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    pdu = bytearray(associate_rq(((CR, EXPLICIT), (CR, IMPLICIT))))
    for _ in range(data.draw(st.integers(1, 8))):
        pdu[data.draw(st.integers(0, len(pdu) - 1))] = data.draw(st.integers(0, 255))
    try:
        proposal = read_proposal(bytes(pdu[: data.draw(st.integers(0, len(pdu)))]))
    except AssociationEnded:
        return
    assert all(each.context_id % 2 == 1 for each in proposal.contexts)


@pytest.mark.parametrize("name", ["two contexts with one id", "an even id", "user information without end"])
def test_the_peer_is_told_that_a_parameter_is_invalid(station: Receiving, name: str) -> None:
    scp = station.start()
    wire = Wire(station.port, associate=False)
    wire.socket.sendall(request(*REFUSED[name]))
    assert wire.pdu() == (7, b"\0\0\2\6")
    wire.close()
    station.wait_for_quiet()
    assert scp.rejections["malformed"] == 1
    assert [(kind, facts["reason"]) for kind, facts in station.events] == [("association.rejected", "malformed")]

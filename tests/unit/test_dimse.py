"""Command sets, PDUs and negotiation as pure functions, against pynetdicom and against noise."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from io import BytesIO
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dsutils import decode

from edgeai.api.errors import DicomRejected
from edgeai.dicom import pdus
from edgeai.dicom.dimse import Command, Field, Status, read_command, response
from edgeai.dicom.negotiation import Accepted, AssociationRules, Rejected, negotiate
from edgeai.dicom.pdus import AssociationEnded, PduStream, p_data
from edgeai.testing.dicom_peers import CR, EXPLICIT, associate_rq, store_pdus

RULES = AssociationRules(ae_title="EDGEAI")


def test_a_request_of_pynetdicom_is_read() -> None:
    encoded = store_pdus("1.2.3.4", b"1234")[0][12:]
    wanted = Command(field=Field.C_STORE, message_id=7, sop_class_uid=CR, sop_instance_uid="1.2.3.4", has_data_set=True)
    assert read_command(encoded) == wanted


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning:pydicom")
@pytest.mark.parametrize("uid", ["1.2.3", "1.02.3", "1.2.34"])
def test_a_response_is_read_by_pynetdicom_and_keeps_odd_uids(uid: str) -> None:
    request = Command(field=Field.C_STORE, message_id=65535, sop_class_uid=CR, sop_instance_uid=uid, has_data_set=True)
    command = decode(BytesIO(response(request, Status.OUT_OF_RESOURCES, "spool.full: é\\x" + "y" * 99)), True, True)
    assert (command.CommandField, command.MessageIDBeingRespondedTo, command.Status) == (0x8001, 65535, 0xA700)
    assert command.AffectedSOPInstanceUID == uid
    assert command.ErrorComment.startswith("spool.full: ?/xyyy")
    assert len(command.ErrorComment) == 64
    assert command.CommandGroupLength == len(response(request, 0xA700, "spool.full: é\\x" + "y" * 99)) - 12


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: store_pdus("1.2.3.4", b"")[0][12:40] + tail))
def test_noise_for_a_command_is_refused_or_read_and_nothing_else(encoded: bytes) -> None:
    try:
        command = read_command(encoded)
    except DicomRejected:
        return
    assert 0 <= command.message_id <= 65535


@given(st.data())
def test_a_damaged_request_is_answered_or_ends_the_association(data: st.DataObject) -> None:
    request = bytearray(associate_rq(((CR, EXPLICIT),)))
    for _ in range(data.draw(st.integers(1, 8))):
        request[data.draw(st.integers(0, len(request) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(request)))
    try:
        outcome = negotiate(bytes(request[:cut]), RULES, address="127.0.0.1", hosts=RULES.hosts())
    except AssociationEnded:
        return
    assert isinstance(outcome, Accepted | Rejected)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20))
def test_noise_on_the_wire_ends_the_association_and_nothing_else(parts: list[bytes]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        for part in parts:
            theirs.sendall(struct.pack(">BxL", 4, len(part)) + part if len(part) % 2 else part)
        theirs.shutdown(socket.SHUT_WR)
        stream = PduStream(_Tcp(ours), idle_timeout_s=5)  # type: ignore[arg-type]
        with pytest.raises(AssociationEnded):
            _read_all(stream)


def _read_all(stream: PduStream) -> None:
    while True:
        list(stream.pieces(stream.pdv().size))


class _Tcp:
    """A socket pair that lets TCP options be set."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self.settimeout = inner.settimeout
        self.recv_into = inner.recv_into

    def setsockopt(self, *_: int) -> None:
        """Nothing to set."""


@given(st.binary(min_size=1, max_size=500), st.sampled_from([0, 1, 7, 8, 64, 16384]))
def test_a_command_comes_whole_out_of_any_maximum_length(command: bytes, max_length: int) -> None:
    encoded = p_data(3, command, max_length)
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        theirs.sendall(encoded)
        theirs.shutdown(socket.SHUT_WR)
        stream = PduStream(_Tcp(ours), idle_timeout_s=5)  # type: ignore[arg-type]
        got = b""
        while len(got) < len(command):
            pdv = stream.pdv()
            assert (pdv.context_id, pdv.is_command) == (3, True)
            got += stream.take(pdv.size)
            assert pdv.is_last == (len(got) == len(command))
        assert got == command


class Slow:
    """A sender with a clock of the test's own: ``send`` lets so many seconds pass before its bytes are there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX)
        monkeypatch.setattr(pdus, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.stream = PduStream(_Tcp(self._ours), idle_timeout_s=60)  # type: ignore[arg-type]

    def send(self, data: bytes, *, after_s: float) -> None:
        self.now += after_s
        self._theirs.sendall(data)

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    made = Slow(monkeypatch)
    yield made
    made.close()


def test_a_slow_sender_that_goes_on_is_heard_to_its_end(slow: Slow) -> None:
    slow.stream.begin()
    for _ in range(50):
        slow.send(p_data(1, bytes(5000), 0), after_s=55)
        assert len(slow.stream.take(slow.stream.pdv().size)) == 5000
    for _ in range(5):  # small messages, each after a pause
        slow.stream.begin()
        slow.send(p_data(1, bytes(10), 0), after_s=55)
        assert slow.stream.pdv().size == 10
        slow.stream.take(10)


def test_whatever_comes_after_the_last_moment_is_not_read(slow: Slow) -> None:
    slow.stream.until(slow.now + 10)
    encoded = p_data(1, bytes(50_000), 0)
    slow.send(encoded[:20_000], after_s=9)
    slow.stream.pdv()
    slow.stream.take(20_000 - 12)
    slow.send(encoded[20_000:], after_s=1)
    with pytest.raises(AssociationEnded) as caught:
        slow.stream.take(30_000)
    assert caught.value.timed_out

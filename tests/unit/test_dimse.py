"""Command sets, PDUs and negotiation as pure functions, against pynetdicom and against noise."""

from __future__ import annotations

import socket
import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dsutils import decode

from edgeai.api.errors import DicomRejected
from edgeai.dicom.dimse import Command, Field, Status, read_command, response
from edgeai.dicom.negotiation import Accepted, AssociationRules, Rejected, negotiate
from edgeai.dicom.pdus import AssociationEnded, PduStream, p_data
from edgeai.testing.dicom_peers import CR, EXPLICIT, associate_rq, store_pdus

RULES = AssociationRules(ae_title="EDGEAI")


def test_a_request_of_pynetdicom_is_read() -> None:
    encoded = store_pdus("1.2.3.4", b"1234")[0][12:]
    wanted = Command(field=Field.C_STORE, message_id=7, sop_class_uid=CR, sop_instance_uid="1.2.3.4", has_data_set=True)
    assert read_command(encoded) == wanted


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
    pdus = p_data(3, command, max_length)
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        theirs.sendall(pdus)
        theirs.shutdown(socket.SHUT_WR)
        stream = PduStream(_Tcp(ours), idle_timeout_s=5)  # type: ignore[arg-type]
        got = b""
        while len(got) < len(command):
            pdv = stream.pdv()
            assert (pdv.context_id, pdv.is_command) == (3, True)
            got += stream.take(pdv.size)
            assert pdv.is_last == (len(got) == len(command))
        assert got == command

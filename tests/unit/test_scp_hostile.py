"""The Storage SCP against what breaks off, what sleeps, what is no DICOM, and who may not come in."""

from __future__ import annotations

import os
import random
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterable
from functools import partial
from itertools import repeat
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid
from pynetdicom.dimse_messages import C_ECHO_RQ
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.pdu import P_DATA_TF

from edgeai.api.errors import ConfigError
from edgeai.dicom.negotiation import AssociationRules
from edgeai.dicom.scp import ScpOptions, StorageScp, server_tls
from edgeai.testing.certificates import Authority, Identity
from edgeai.testing.dicom_peers import (
    CR,
    ECHO,
    EXPLICIT,
    SUCCESS,
    Receiving,
    Wire,
    associate_rq,
    body_of,
    radiograph,
    save,
    send,
    store_pdus,
)
from edgeai.testing.waiting import until
from edgeai.tls_files import TlsFiles

# --- what breaks off, and what is no DICOM ------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "close", "abort", "release", "another command"])
def test_an_association_that_ends_mid_transfer_leaves_nothing(station: Receiving, how: str) -> None:
    station.start()
    wire = Wire(station.port)
    pdus = store_pdus(generate_uid(), body_of(radiograph(side=512)))
    wire.socket.sendall(b"".join(pdus[: len(pdus) // 2]) + pdus[-1][:100] * (how == "reset"))
    until(lambda: len(station.arriving) == 1)
    if how == "abort":
        wire.socket.sendall(struct.pack(">BxLxxBB", 7, 4, 0, 0))
    elif how == "release":
        wire.socket.sendall(struct.pack(">BxLxxxx", 5, 4))
    elif how == "another command":
        wire.socket.sendall(pdus[0])
        assert wire.pdu()[0] == 7
    wire.close(reset=how == "reset")
    station.wait_for_quiet()
    assert (station.jobs, station.files) == (0, [])


def _garbage() -> dict[str, list[bytes]]:
    """Name -> what to send, piece by piece, on a connection without an association."""
    noise = random.Random(7)
    request = associate_rq(((CR, EXPLICIT),))
    echo = C_ECHO_RQ()
    primitive = C_ECHO()
    primitive.MessageID, primitive.AffectedSOPClassUID = 1, ECHO
    echo.primitive_to_message(primitive)
    ping = bytes(P_DATA_TF(next(iter(echo.encode_msg(1, 0)))).encode())
    command = struct.pack(">BxLLBB", 4, 8006, 8002, 1, 1) + bytes(8000)
    return {
        "nothing": [],
        "http": [b"GET / HTTP/1.1\r\nHost: cart\r\n\r\n"],
        "tls": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise.randbytes(500)],
        "noise": [noise.randbytes(1_000_000)],
        "half a request": [request[: len(request) // 2]],
        "huge request": [struct.pack(">BxL", 1, 0xFFFFFFFF), bytes(1_000_000)],
        "damaged request": [request[:80] + noise.randbytes(len(request) - 80)],
        "empty request": [struct.pack(">BxL", 1, 0)],
        "data first": [ping],
        "release first": [struct.pack(">BxLxxxx", 5, 4)],
        "unknown pdu": [request, struct.pack(">BxL", 0x42, 4), b"1234"],
        "huge abort": [request, struct.pack(">BxL", 7, 0xFFFFFFFF), bytes(100_000)],
        "empty data": [request, struct.pack(">BxL", 4, 0) * 1000],
        "lying pdv": [request, struct.pack(">BxLLBB", 4, 100, 0xFFFFFFF0, 1, 3), bytes(94)],
        "tiny pdv": [request, struct.pack(">BxLLBB", 4, 6, 0, 1, 3)],
        "strange context": [request, ping.replace(b"\x01\x03", b"\x99\x03", 1)],
        "data without command": [request, struct.pack(">BxLLBB", 4, 106, 102, 1, 2), bytes(100)],
        "endless command": [request, *[command] * 50],
        "command of noise": [request, struct.pack(">BxLLBB", 4, 506, 502, 1, 3), noise.randbytes(500)],
        "second request": [request, request],
        "huge data, cut": [request, struct.pack(">BxLLBB", 4, 0xFFFFFFFF, 0xFFFFFFFB, 1, 0), bytes(300_000)],
    }


@pytest.mark.parametrize("name", sorted(_garbage()))
def test_garbage_is_survived_and_leaves_nothing(station: Receiving, name: str) -> None:
    station.start(negotiation_timeout_s=60, idle_timeout_s=60)
    send(station.port, radiograph())  # every thread and file that will ever be needed is there
    station.wait_for_quiet()
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    for _ in range(3):
        wire = Wire(station.port, associate=False)
        try:
            for piece in _garbage()[name]:
                wire.socket.sendall(piece)
        except ConnectionError:
            pass  # shown the door already
        wire.close()
    station.wait_for_quiet()
    until(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) <= before)
    (status,) = send(station.port, radiograph())
    assert status.Status == SUCCESS
    assert station.jobs == 2


@pytest.mark.slow
def test_many_connections_that_say_nothing_hold_up_nobody(station: Receiving) -> None:
    station.start(max_associations=2, negotiation_timeout_s=4.0)
    idlers = [Wire(station.port, associate=False) for _ in range(12)]
    for idler in idlers:
        idler.socket.sendall(b"\x01\0\0")
    (status,) = send(station.port, radiograph())
    assert status.Status == SUCCESS
    for idler in idlers:
        assert idler.pdu()[0] in (0, 7)  # each is shown the door
        idler.close()


def drip(wire: Wire, pieces: Iterable[bytes]) -> None:
    """A piece every 20 ms, for as long as the other side takes them and at most 20 s."""
    until = time.monotonic() + 20
    for piece in pieces:
        assert time.monotonic() < until, "it takes this for ever"
        wire.socket.sendall(piece)
        time.sleep(0.02)


def fragment(data: bytes, *, is_command: bool, context_id: int = 1) -> bytes:
    """A P-DATA-TF PDU with one fragment that is not the last."""
    return struct.pack(">BxLLBB", 4, len(data) + 6, len(data) + 2, context_id, int(is_command)) + data


@pytest.mark.slow
@pytest.mark.parametrize("then", ["silence", "drip", "drip of whole fragments", "drip of command fragments"])
def test_a_sender_that_falls_asleep_is_aborted(station: Receiving, then: str) -> None:
    station.start(idle_timeout_s=0.4)
    wire = Wire(station.port)
    pdus = store_pdus(generate_uid(), body_of(radiograph(side=512)), fragment=0)
    if then != "drip of command fragments":
        wire.socket.sendall(pdus[0])
    if then in ("silence", "drip"):
        wire.socket.sendall(pdus[1][:1000])
    if then == "silence":
        assert wire.pdu()[0] == 7
    else:
        tiny = fragment(b"\0", is_command=then == "drip of command fragments")
        with pytest.raises(OSError):
            drip(wire, (bytes([byte]) for byte in pdus[1][1000:5000]) if then == "drip" else repeat(tiny))
    wire.close()
    station.wait_for_quiet()


def _endless() -> dict[str, tuple[bytes, bytes]]:
    """Name -> what comes first, and what then comes again and again; no message ever ends."""
    command = store_pdus("1.2.3", b"1234")[0]
    empty = struct.pack(">LBB", 2, 1, 0)
    cancel = _cancel()
    return {
        "empty command fragments": (b"", fragment(b"", is_command=True)),
        "empty command fragments after a beginning": (
            fragment(command[12:60], is_command=True),
            fragment(b"", is_command=True),
        ),
        "command fragments of one byte": (b"", fragment(b"\0", is_command=True)),
        "empty data fragments": (command, fragment(b"", is_command=False)),
        "empty data fragments, 1000 a PDU": (command, struct.pack(">BxL", 4, 6000) + empty * 1000),
        "data fragments of one byte": (command, fragment(b"\0", is_command=False)),
        "cancel requests": (b"", struct.pack(">BxLLBB", 4, len(cancel) + 6, len(cancel) + 2, 1, 3) + cancel),
    }


def _cancel() -> bytes:
    elements = ((0x0100, 0x0FFF), (0x0120, 1), (0x0800, 0x0101))
    return b"".join(struct.pack("<HHLH", 0, number, 2, value) for number, value in elements)


@pytest.mark.parametrize("name", sorted(_endless()))
def test_what_never_comes_to_anything_is_aborted(station: Receiving, name: str) -> None:
    station.start()
    wire = Wire(station.port)
    first, again = _endless()[name]
    wire.socket.sendall(first + again * (2_000_000 // len(again)))
    assert wire.pdu()[0] == 7  # and not a wait for more
    wire.close()
    station.wait_for_quiet()


def test_a_data_set_of_many_small_fragments_and_an_empty_last_one_is_taken(station: Receiving) -> None:
    station.start()
    body = body_of(dataset := radiograph(side=256))
    wire = Wire(station.port)
    *pdus, last = store_pdus(dataset.SOPInstanceUID, body, fragment=16 + 6)
    assert len(pdus) > 4096  # more than come for nothing
    wire.socket.sendall(b"".join(pdus) + fragment(last[12:], is_command=False))
    wire.socket.sendall(struct.pack(">BxLLBB", 4, 6, 2, 1, 2))
    assert wire.status().Status == SUCCESS
    assert station.files[0].read_bytes().endswith(body)
    wire.close()


@pytest.mark.slow
def test_stop_lets_an_instance_arrive_and_ends_who_is_idle(station: Receiving) -> None:
    scp = station.start()
    idle, busy = Wire(station.port), Wire(station.port)
    pdus = store_pdus(uid := generate_uid(), body_of(radiograph(uid=uid, side=256)))
    busy.socket.sendall(b"".join(pdus[:3]))
    until(lambda: len(station.arriving) == 1)
    stopper = threading.Thread(target=scp.stop, args=(20.0,))
    port = station.port
    stopper.start()
    assert idle.pdu()[0] == 7
    busy.socket.sendall(b"".join(pdus[3:]))
    assert busy.status().Status == SUCCESS
    assert busy.pdu()[0] == 7
    stopper.join(240)
    assert not stopper.is_alive()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    assert station.jobs == 1


def test_a_port_in_use_is_said(station: Receiving, tmp_path: Path) -> None:
    station.start()
    second = StorageScp(
        ScpOptions(rules=AssociationRules(ae_title="B"), port=station.port), station.intake, lambda *_: None
    )
    with pytest.raises(ConfigError) as caught:
        second.start()
    assert caught.value.code == "config.scp-address"


# --- TLS ----------------------------------------------------------------------------------------


def test_tls_with_a_client_certificate(station: Receiving, authority: Authority, storescu: str, tmp_path: Path) -> None:
    server, client = authority.issue("cart"), authority.issue("modality")
    station.start(tls=server_tls(server.certificate, server.key, authority.ca))
    file = save(radiograph(side=512), tmp_path / "image.dcm")
    secured = ["+tls", client.key, client.certificate, "+cf", authority.ca]
    subprocess.run([storescu, *secured, "127.0.0.1", str(station.port), file], check=True, timeout=600)
    assert pydicom.dcmread(station.files[0]).PixelData == pydicom.dcmread(file).PixelData


@pytest.mark.parametrize("who", ["without certificate", "of another authority", "without tls"])
def test_tls_refuses(station: Receiving, authority: Authority, storescu: str, tmp_path: Path, who: str) -> None:
    server = authority.issue("cart")
    station.start(tls=server_tls(server.certificate, server.key, authority.ca), negotiation_timeout_s=2.0)
    file = save(radiograph(), tmp_path / "image.dcm")
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("stranger")
    arguments = {
        "without certificate": ["+tla", "+cf", authority.ca],
        "of another authority": ["+tls", stranger.key, stranger.certificate, "+cf", authority.ca],
        "without tls": [],
    }[who]
    done = subprocess.run([storescu, *arguments, "127.0.0.1", str(station.port), file], timeout=600)
    assert done.returncode != 0
    station.wait_for_quiet()
    assert station.jobs == 0


def test_a_handshake_that_never_ends_holds_up_nobody(station: Receiving, authority: Authority, storescu: str) -> None:
    server, client = authority.issue("cart"), authority.issue("modality")
    station.start(tls=server_tls(server.certificate, server.key, authority.ca))
    stuck = Wire(station.port, associate=False)
    secured = ["+tls", client.key, client.certificate, "+cf", authority.ca]
    echoscu = Path(storescu).with_name("echoscu")
    subprocess.run([echoscu, *secured, "127.0.0.1", str(station.port)], check=True, timeout=600)
    stuck.close()


def test_a_renewed_certificate_is_shown_to_the_next_sender_and_one_that_is_none_is_not(
    station: Receiving, authority: Authority, tmp_path: Path
) -> None:
    old, new = authority.issue("old", valid_days=1), authority.issue("new", valid_days=90)
    files = {"certificate": tmp_path / "in-use.pem", "key": tmp_path / "in-use.key"}
    make = partial(server_tls, files["certificate"], files["key"])

    def install(certificate: bytes, key: bytes) -> None:
        files["certificate"].write_bytes(certificate)
        files["key"].write_bytes(key)

    def shown() -> bytes:
        client = ssl.create_default_context(cafile=str(authority.ca))
        plain = socket.create_connection(("127.0.0.1", station.port), timeout=600)
        with client.wrap_socket(plain, server_hostname="localhost") as secured:
            return secured.getpeercert(binary_form=True) or b""

    def der(identity: Identity) -> bytes:
        return ssl.PEM_cert_to_DER_cert(identity.certificate.read_text())

    install(old.certificate.read_bytes(), old.key.read_bytes())
    tls = TlsFiles("ingest.scp.tls", make, **files)
    station.start(tls=tls)
    assert shown() == der(old)
    for certificate, key in (
        (b"not a certificate", old.key.read_bytes()),
        (new.certificate.read_bytes(), old.key.read_bytes()),
        (new.certificate.read_bytes(), b""),
    ):
        install(certificate, key)
        assert shown() == der(old)
        assert tls.refusal
    files["certificate"].unlink()
    assert shown() == der(old)
    install(new.certificate.read_bytes(), new.key.read_bytes())
    assert shown() == der(new)
    assert tls.refusal == ""
    status = send(station.port, radiograph(), tls_args=(ssl.create_default_context(cafile=authority.ca), "localhost"))
    assert status[0].Status == SUCCESS


def test_an_authority_in_openssls_own_form_does_not_keep_the_port_shut(authority: Authority, tmp_path: Path) -> None:
    server, trusted = authority.issue("cart"), tmp_path / "trusted.pem"
    command = ["openssl", "x509", "-in", authority.ca, "-trustout", "-addtrust", "clientAuth"]
    subprocess.run([*command, "-out", trusted], check=True, timeout=600)
    files = {"certificate": server.certificate, "key": server.key, "ca": trusted}
    tls = TlsFiles("ingest.scp.tls", partial(server_tls, server.certificate, server.key, trusted), **files)
    assert set(tls.detail()["loaded"]) == {"ingest.scp.tls.certificate"}


def test_tls_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    one, two = authority.issue("one"), authority.issue("two")
    for certificate, key, ca in (
        (one.certificate, two.key, None),
        (tmp_path / "none.pem", one.key, None),
        (one.certificate, one.key, one.key),
    ):
        with pytest.raises(ConfigError) as caught:
            server_tls(certificate, key, ca)
        assert caught.value.code == "config.tls"

"""The Storage SCP against real senders (DCMTK, pynetdicom) and against bytes that no sender should send."""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

from edgeai.api.errors import ConfigError
from edgeai.config import Spool as SpoolConfig
from edgeai.dicom import arrival
from edgeai.dicom.negotiation import AssociationRules, PeerRule
from edgeai.dicom.scp import ScpOptions, StorageScp, server_tls
from edgeai.dicom.storage import image_classes
from edgeai.dicom.syntaxes import SUPPORTED
from edgeai.roles.ingest import SpoolIntake
from edgeai.spool import Spool
from edgeai.testing.certificates import Authority

CR = "1.2.840.10008.5.1.4.1.1.1"
US = "1.2.840.10008.5.1.4.1.1.6.1"
ECHO = "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SUCCESS, FULL, MISMATCH, GARBAGE, INTERNAL = 0x0000, 0xA700, 0xA900, 0xC000, 0x0110


class Limits:
    """Spool limits that a test can change while the SCP runs."""

    def __init__(self) -> None:
        self.reserve_bytes = 0
        self.max_backlog = 100_000
        self.keep_files = "never"
        self.keep_rows_days = 30


class Station:
    """An SCP with a real spool, and what a test wants to know of both."""

    def __init__(self, folder: Path) -> None:
        self.limits = Limits()
        self.spool = Spool(folder / "spool", self.limits)
        self.intake = SpoolIntake(self.spool, {"guard": None})
        self.events: list[tuple[str, dict[str, object]]] = []
        self.scp: StorageScp | None = None

    def start(self, rules: AssociationRules | None = None, intake: Any = None, **options: Any) -> StorageScp:
        settings = ScpOptions(rules=rules or AssociationRules(ae_title="EDGEAI"), port=0, **options)
        self.scp = StorageScp(settings, intake or self.intake, lambda kind, _, facts: self.events.append((kind, facts)))
        self.scp.start()
        return self.scp

    @property
    def port(self) -> int:
        assert self.scp is not None
        return self.scp.port

    @property
    def jobs(self) -> int:
        return self.spool.backlog()[0]

    @property
    def files(self) -> list[Path]:
        return sorted(self.spool.instances.iterdir())

    @property
    def arriving(self) -> list[Path]:
        return list(self.spool.tmp.iterdir())

    def wait_for_quiet(self) -> None:
        wait_until(lambda: self.scp is None or self.scp.connections == 0)
        assert self.arriving == []

    def close(self) -> None:
        if self.scp is not None:
            self.scp.stop(0.2)
        self.intake.close()
        self.spool.close()


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path)
    yield made
    made.close()


def wait_until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def radiograph(syntax: str = EXPLICIT, *, side: int = 64, uid: str | None = None, sop_class: str = CR) -> Dataset:
    """A small image; encapsulated syntaxes carry a fragment that nobody decodes here."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid or generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = generate_uid(), generate_uid(), "CR"
    dataset.PatientID, dataset.PatientName = "P", "Nobody"
    dataset.Rows = dataset.Columns = side
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    raw = random.Random(side).randbytes(side * side * 2)
    encapsulated = UID(syntax).is_encapsulated
    dataset.PixelData = encapsulate([raw[:-1] + b"\0"]) if encapsulated else raw
    dataset["PixelData"].VR = "OB" if encapsulated else "OW"
    dataset["PixelData"].is_undefined_length = encapsulated
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def send(port: int, *datasets: Dataset, calling: str = "SENDER", **options: Any) -> list[Dataset]:
    """The statuses that pynetdicom's SCU gets."""
    ae = AE(ae_title=calling)
    for dataset in datasets:
        ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, **options)
    assert association.is_established
    try:
        return [association.send_c_store(dataset) for dataset in datasets]
    finally:
        association.release()


def save(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


class Wire:
    """A sender that says exactly what a test wants it to say."""

    def __init__(self, port: int, *, associate: bool = True, contexts: tuple[tuple[str, str], ...] = ()) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        if associate:
            self.socket.sendall(associate_rq(contexts or ((CR, EXPLICIT), (ECHO, IMPLICIT))))
            kind, _ = self.pdu()
            assert kind == 2

    def pdu(self) -> tuple[int, bytes]:
        """The next PDU from the other side; (0, b"") when it closed."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", head)
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                return data
            data += part
        return data

    def status(self) -> Dataset:
        kind, body = self.pdu()
        assert kind == 4, kind
        return decode(BytesIO(body[6:]), True, True)

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def associate_rq(contexts: tuple[tuple[str, str], ...], max_length: int = 16382) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "WIRE", "EDGEAI"
    primitive.presentation_context_definition_list = [build_context(*context) for context in contexts]
    for number, context in enumerate(primitive.presentation_context_definition_list):
        context.context_id = 2 * number + 1
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = max_length
    implementation.implementation_class_uid = UID("1.2.3")
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def store_pdus(
    uid: str, body: bytes, *, context_id: int = 1, sop_class: str = CR, fragment: int = 16000
) -> list[bytes]:
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
    request.DataSet = BytesIO(body)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return [bytes(P_DATA_TF(part).encode()) for part in message.encode_msg(context_id, fragment)]


def body_of(dataset: Dataset) -> bytes:
    encoded = encode(dataset, False, True)
    assert encoded is not None
    return encoded


# --- accepted -----------------------------------------------------------------------------------


def test_echo_is_answered_to_dcmtk(station: Station, storescu: str) -> None:
    station.start()
    subprocess.run([Path(storescu).with_name("echoscu"), "127.0.0.1", str(station.port)], check=True, timeout=30)


@pytest.mark.parametrize(
    ("name", "propose"),
    [
        ("CT_small.dcm", "-xe"),
        ("MR_small_implicit.dcm", "-xi"),
        ("MR_small_bigendian.dcm", "-xb"),
        ("MR_small_RLE.dcm", "-xr"),
        ("SC_rgb_jpeg_dcmtk.dcm", "-xy"),
        ("JPEG-lossy.dcm", "-xx"),
        ("MR_small_jpeg_ls_lossless.dcm", "-xt"),
        ("JPEGLSNearLossless_16.dcm", "-xu"),
        ("MR_small_jp2klossless.dcm", "-xv"),
        ("JPEG2000.dcm", "-xw"),
        ("image_dfl.dcm", "-xd"),
    ],
)
def test_dcmtk_sends_and_the_very_pixels_are_kept(station: Station, storescu: str, name: str, propose: str) -> None:
    source = get_testdata_file(name)
    assert isinstance(source, str)
    station.start()
    subprocess.run([storescu, "-R", propose, "127.0.0.1", str(station.port), source], check=True, timeout=60)
    sent, (kept,) = pydicom.dcmread(source), [pydicom.dcmread(path) for path in station.files]
    assert kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert kept.file_meta.MediaStorageSOPInstanceUID == kept.SOPInstanceUID == sent.SOPInstanceUID
    assert kept.PixelData == sent.PixelData
    assert station.jobs == 1


@pytest.mark.parametrize("syntax", sorted(SUPPORTED))
def test_every_transfer_syntax_arrives_as_it_was_sent(station: Station, syntax: str) -> None:
    dataset = radiograph(syntax)
    station.start()
    (status,) = send(station.port, dataset)
    assert status.Status == SUCCESS
    kept = pydicom.dcmread(station.files[0])
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert kept.file_meta.SourceApplicationEntityTitle == "SENDER"
    assert kept == dataset


@pytest.mark.parametrize("fragment", [64, 999, 70_000, 0])
def test_fragments_of_any_size_become_one_file(station: Station, fragment: int) -> None:
    body = body_of(dataset := radiograph(side=200))
    station.start()
    wire = Wire(station.port)
    wire.socket.sendall(b"".join(store_pdus(dataset.SOPInstanceUID, body, fragment=fragment)))
    assert wire.status().Status == SUCCESS
    assert station.files[0].read_bytes().endswith(body)
    wire.close()


def test_several_fragments_in_one_pdu_and_bytes_one_at_a_time(station: Station) -> None:
    body = body_of(dataset := radiograph(side=16))
    station.start()
    wire = Wire(station.port)
    pdus = store_pdus(dataset.SOPInstanceUID, body, fragment=300)
    joined = b"".join(pdu[6:] for pdu in pdus)
    for byte in struct.pack(">BxL", 4, len(joined)) + joined:
        wire.socket.sendall(bytes([byte]))
    assert wire.status().Status == SUCCESS
    assert station.files[0].read_bytes().endswith(body)
    wire.close()


def test_an_answer_keeps_to_the_senders_maximum_length(station: Station) -> None:
    dataset = radiograph()
    station.start()
    wire = Wire(station.port, associate=False)
    wire.socket.sendall(associate_rq(((CR, EXPLICIT),), max_length=64))
    assert wire.pdu()[0] == 2
    wire.socket.sendall(b"".join(store_pdus(dataset.SOPInstanceUID, body_of(dataset))))
    command, last = b"", False
    while not last:
        kind, body = wire.pdu()
        assert kind == 4
        assert len(body) <= 64
        command, last = command + body[6:], bool(body[5] & 2)
    assert decode(BytesIO(command), True, True).Status == SUCCESS
    wire.close()


def test_the_senders_order_of_transfer_syntaxes_is_kept(station: Station) -> None:
    station.start()
    ae = AE()
    ae.add_requested_context(CR, [BIG, EXPLICIT, IMPLICIT])
    association = ae.associate("127.0.0.1", station.port)
    assert [str(syntax) for syntax in association.accepted_contexts[0].transfer_syntax] == [BIG]
    association.release()


def test_storage_classes_with_pixels_and_no_others() -> None:
    accepted = image_classes()
    names = {str(UID(uid).name) for uid in accepted}
    assert {"Ultrasound Image Storage (Retired)", "RT Dose Storage", "Segmentation Storage"} - names <= {
        "Ultrasound Image Storage (Retired)"  # the name pydicom gives it differs between releases
    }
    for keyword in (
        "ComputedRadiographyImageStorage DigitalXRayImageStorageForPresentation UltrasoundMultiFrameImageStorage "
        "UltrasoundImageStorageRetired EnhancedUSVolumeStorage XRay3DAngiographicImageStorage ParametricMapStorage "
        "VLWholeSlideMicroscopyImageStorage OphthalmicTomographyImageStorage RTImageStorage RTDoseStorage"
    ).split():
        assert getattr(pydicom.uid, keyword, None) in accepted or any(UID(u).keyword == keyword for u in accepted)
    for keyword in (
        "BasicTextSRStorage EncapsulatedPDFStorage RTPlanStorage RTStructureSetStorage TwelveLeadECGWaveformStorage "
        "GrayscaleSoftcopyPresentationStateStorage MRSpectroscopyStorage RawDataStorage SurfaceSegmentationStorage"
    ).split():
        assert getattr(pydicom.uid, keyword) not in accepted


# --- duplicates ---------------------------------------------------------------------------------


def test_a_second_copy_is_a_success_and_no_second_job(station: Station) -> None:
    dataset = radiograph()
    station.start()
    assert [status.Status for status in send(station.port, dataset, dataset)] == [SUCCESS, SUCCESS]
    assert station.jobs == 1
    assert len(station.files) == 1


def test_two_senders_at_once_make_one_job(station: Station, storescu: str, tmp_path: Path) -> None:
    files = [str(save(radiograph(side=256), tmp_path / f"{number}.dcm")) for number in range(10)]
    station.start()
    command = [storescu, "-R", "127.0.0.1", str(station.port), *files]
    senders = [subprocess.Popen(command) for _ in range(3)]
    assert [sender.wait(60) for sender in senders] == [0, 0, 0]
    assert station.jobs == len(station.files) == 10
    station.wait_for_quiet()


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        (AssociationRules(ae_title="OTHER", require_called_ae_title=True), (1, 1, 7)),
        (AssociationRules(ae_title="EDGEAI", peers=(PeerRule(ae_title="CART"),)), (1, 1, 3)),
        (AssociationRules(ae_title="EDGEAI", peers=(PeerRule(ae_title="SENDER", host="192.0.2.1"),)), (1, 1, 3)),
        (AssociationRules(ae_title="EDGEAI", peers=(PeerRule(ae_title="SENDER", host="no.such.invalid"),)), (1, 1, 3)),
    ],
)
def test_who_may_not_associate_is_told_why(
    station: Station, rules: AssociationRules, why: tuple[int, int, int]
) -> None:
    station.start(rules)
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(CR, EXPLICIT)
    association = ae.associate("127.0.0.1", station.port, ae_title="EDGEAI")
    assert association.is_rejected
    answer = association.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == why
    wait_until(lambda: [kind for kind, _ in station.events] == ["association.rejected"])


def test_a_peer_that_is_listed_may(station: Station) -> None:
    peers = (PeerRule(ae_title="CART", host="192.0.2.1"), PeerRule(ae_title="SENDER", host="localhost"))
    station.start(AssociationRules(ae_title="EDGEAI", peers=peers, require_called_ae_title=True))
    (status,) = send(station.port, radiograph(), ae_title="EDGEAI")
    assert status.Status == SUCCESS


def test_one_association_too_many_is_told_to_come_back(station: Station) -> None:
    station.start(max_associations=2)
    held = [Wire(station.port) for _ in range(2)]
    late = Wire(station.port, associate=False)
    late.socket.sendall(associate_rq(((CR, EXPLICIT),)))
    assert late.pdu() == (3, b"\0\x02\x03\x02")
    held[0].close()
    wait_until(lambda: station.scp is not None and station.scp.connections <= 2)
    (status,) = send(station.port, radiograph())
    assert status.Status == SUCCESS
    held[1].close()
    late.close()


def test_classes_without_pixels_are_not_accepted(station: Station) -> None:
    station.start()
    ae = AE()
    for sop_class in ("1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.104.1", CR):
        ae.add_requested_context(sop_class, EXPLICIT)
    ae.add_requested_context(US, "1.2.840.10008.1.2.4.100")  # MPEG2: nothing here decodes it
    association = ae.associate("127.0.0.1", station.port)
    assert [context.abstract_syntax for context in association.accepted_contexts] == [CR]
    assert sorted(context.result for context in association.rejected_contexts) == [3, 3, 4]
    association.release()


def test_a_full_disk_is_said_and_service_resumes_by_itself(station: Station, storescu: str, tmp_path: Path) -> None:
    file = save(radiograph(side=256), tmp_path / "image.dcm")
    station.start()
    station.limits.reserve_bytes = 1 << 62
    (status,) = send(station.port, pydicom.dcmread(file))
    assert status.Status == FULL
    assert "spool.disk-reserve" in status.ErrorComment
    assert (station.files, station.arriving, station.jobs) == ([], [], 0)
    assert station.events[0][0] == "spool.full"
    station.limits.reserve_bytes = 0
    subprocess.run([storescu, "127.0.0.1", str(station.port), file], check=True, timeout=30)
    assert station.jobs == 1


def test_a_disk_that_fills_while_receiving(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    class Filling(Limits):
        asked = 0

        @property
        def reserve_bytes(self) -> int:
            self.asked += 1
            return 0 if self.asked <= 4 else 1 << 62

        @reserve_bytes.setter
        def reserve_bytes(self, value: int) -> None:
            """Decided above."""

    monkeypatch.setattr(arrival, "CHECK_ROOM_BYTES", 65536)
    station.spool.limits = Filling()
    station.start()
    (status,) = send(station.port, radiograph(side=1024))
    assert status.Status == FULL
    assert (station.files, station.arriving, station.jobs) == ([], [], 0)


def test_an_instance_too_large_ends_the_association_early(station: Station) -> None:
    station.start(max_instance_bytes=100_000)
    body = body_of(dataset := radiograph(side=512))
    wire = Wire(station.port)
    pdus = store_pdus(dataset.SOPInstanceUID, body)
    for pdu in pdus[:12]:
        wire.socket.sendall(pdu)
    assert wire.pdu()[0] == 7  # long before the last byte
    wire.close()
    station.wait_for_quiet()
    assert [facts["code"] for _, facts in station.events] == ["dicom.too-large"]
    (status,) = send(station.port, radiograph(side=16))
    assert status.Status == SUCCESS


def test_a_data_set_that_is_another_instance(station: Station) -> None:
    station.start()
    wire = Wire(station.port)
    wire.socket.sendall(b"".join(store_pdus(generate_uid(), body_of(radiograph()))))
    status = wire.status()
    assert status.Status == MISMATCH
    assert "dicom.uid-mismatch" in status.ErrorComment
    wire.socket.sendall(b"".join(store_pdus(uid := generate_uid(), body_of(radiograph(uid=uid, sop_class=US)))))
    assert wire.status().Status == MISMATCH
    assert (station.jobs, station.files) == (0, [])
    wire.close()


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"no data set at all", random.Random(1).randbytes(50_000), b"\x08\0\x05\0CS\xff\xff" * 40]
)
def test_garbage_for_a_data_set_is_not_understood(station: Station, body: bytes) -> None:
    station.start()
    wire = Wire(station.port)
    wire.socket.sendall(b"".join(store_pdus(generate_uid(), body or b"\0\0", fragment=9000)))
    status = wire.status()
    assert status.Status in (GARBAGE, MISMATCH)
    assert "dicom." in status.ErrorComment
    assert (station.jobs, station.files, station.arriving) == (0, [], [])
    wire.socket.sendall(b"".join(store_pdus(uid := generate_uid(), body_of(radiograph(uid=uid)))))
    assert wire.status().Status == SUCCESS  # the association is as good as before
    wire.close()


def test_a_truncated_header_is_not_understood(station: Station) -> None:
    dataset = radiograph()
    station.start()
    wire = Wire(station.port)
    wire.socket.sendall(b"".join(store_pdus(dataset.SOPInstanceUID, body_of(dataset)[:150])))
    assert wire.status().Status == GARBAGE
    wire.close()


@pytest.mark.parametrize(("uid", "sop_class", "status"), [("not-a-uid", CR, 0x0117), ("1.2.3", US, 0x0122)])
def test_a_command_that_makes_no_sense(station: Station, uid: str, sop_class: str, status: int) -> None:
    station.start()
    wire = Wire(station.port)
    pdus = store_pdus("1.2.345678", body_of(radiograph()), sop_class=sop_class)
    pdus[0] = pdus[0].replace(b"1.2.345678", uid.encode().ljust(10, b"\0"))
    wire.socket.sendall(b"".join(pdus))
    assert wire.status().Status == status
    wire.close()


def test_a_mistake_of_ours_is_never_a_success(station: Station) -> None:
    class Broken(SpoolIntake):
        def admit(self, *_: Any, **__: Any) -> bool:
            raise RuntimeError("bug")

    broken = Broken(station.spool, {"guard": None})
    station.start(intake=broken)
    (status,) = send(station.port, radiograph())
    broken.close()
    assert status.Status == INTERNAL
    assert station.arriving == []


def test_nothing_else_is_served(station: Station) -> None:
    station.start()
    wire = Wire(station.port)
    pdus = store_pdus(generate_uid(), body_of(radiograph()), context_id=3)  # a C-STORE in the context of C-ECHO
    wire.socket.sendall(b"".join(pdus))
    assert wire.pdu()[0] == 7
    wire.close()


# --- what breaks off, and what is no DICOM ------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "close", "abort", "release", "another command"])
def test_an_association_that_ends_mid_transfer_leaves_nothing(station: Station, how: str) -> None:
    station.start()
    wire = Wire(station.port)
    pdus = store_pdus(generate_uid(), body_of(radiograph(side=512)))
    wire.socket.sendall(b"".join(pdus[: len(pdus) // 2]) + pdus[-1][:100] * (how == "reset"))
    wait_until(lambda: len(station.arriving) == 1)
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
def test_garbage_is_survived_and_leaves_nothing(station: Station, name: str) -> None:
    station.start(negotiation_timeout_s=0.5, idle_timeout_s=0.5)
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
    wait_until(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) <= before)
    (status,) = send(station.port, radiograph())
    assert status.Status == SUCCESS
    assert station.jobs == 2


def test_many_connections_that_say_nothing_hold_up_nobody(station: Station) -> None:
    station.start(max_associations=2, negotiation_timeout_s=1.0)
    idlers = [Wire(station.port, associate=False) for _ in range(12)]
    for idler in idlers:
        idler.socket.sendall(b"\x01\0\0")
    (status,) = send(station.port, radiograph())
    assert status.Status == SUCCESS
    for idler in idlers:
        assert idler.pdu()[0] in (0, 7)  # each is shown the door
        idler.close()


@pytest.mark.parametrize("then", ["silence", "drip"])
def test_a_sender_that_falls_asleep_is_aborted(station: Station, then: str) -> None:
    station.start(idle_timeout_s=0.4)
    wire = Wire(station.port)
    pdus = store_pdus(generate_uid(), body_of(radiograph(side=512)), fragment=0)
    wire.socket.sendall(pdus[0] + pdus[1][:1000])
    if then == "drip":
        with pytest.raises(OSError):  # noqa: SIM117
            for byte in pdus[1][1000:1400]:
                wire.socket.sendall(bytes([byte]))
                time.sleep(0.02)
    else:
        assert wire.pdu()[0] == 7
    wire.close()
    station.wait_for_quiet()


def test_stop_lets_an_instance_arrive_and_ends_who_is_idle(station: Station) -> None:
    scp = station.start()
    idle, busy = Wire(station.port), Wire(station.port)
    pdus = store_pdus(uid := generate_uid(), body_of(radiograph(uid=uid, side=256)))
    busy.socket.sendall(b"".join(pdus[:3]))
    wait_until(lambda: len(station.arriving) == 1)
    stopper = threading.Thread(target=scp.stop, args=(20.0,))
    port = station.port
    stopper.start()
    assert idle.pdu()[0] == 7
    busy.socket.sendall(b"".join(pdus[3:]))
    assert busy.status().Status == SUCCESS
    assert busy.pdu()[0] == 7
    stopper.join(20)
    assert not stopper.is_alive()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    assert station.jobs == 1


def test_a_port_in_use_is_said(station: Station, tmp_path: Path) -> None:
    station.start()
    second = StorageScp(
        ScpOptions(rules=AssociationRules(ae_title="B"), port=station.port), station.intake, lambda *_: None
    )
    with pytest.raises(ConfigError) as caught:
        second.start()
    assert caught.value.code == "config.scp-address"


# --- TLS ----------------------------------------------------------------------------------------


def test_tls_with_a_client_certificate(station: Station, authority: Authority, storescu: str, tmp_path: Path) -> None:
    server, client = authority.issue("cart"), authority.issue("modality")
    station.start(tls=server_tls(server.certificate, server.key, authority.ca))
    file = save(radiograph(side=512), tmp_path / "image.dcm")
    secured = ["+tls", client.key, client.certificate, "+cf", authority.ca]
    subprocess.run([storescu, *secured, "127.0.0.1", str(station.port), file], check=True, timeout=30)
    assert pydicom.dcmread(station.files[0]).PixelData == pydicom.dcmread(file).PixelData


@pytest.mark.parametrize("who", ["without certificate", "of another authority", "without tls"])
def test_tls_refuses(station: Station, authority: Authority, storescu: str, tmp_path: Path, who: str) -> None:
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
    done = subprocess.run([storescu, *arguments, "127.0.0.1", str(station.port), file], timeout=30)
    assert done.returncode != 0
    station.wait_for_quiet()
    assert station.jobs == 0


def test_a_handshake_that_never_ends_holds_up_nobody(station: Station, authority: Authority, storescu: str) -> None:
    server, client = authority.issue("cart"), authority.issue("modality")
    station.start(tls=server_tls(server.certificate, server.key, authority.ca))
    stuck = Wire(station.port, associate=False)
    secured = ["+tls", client.key, client.certificate, "+cf", authority.ca]
    echoscu = Path(storescu).with_name("echoscu")
    subprocess.run([echoscu, *secured, "127.0.0.1", str(station.port)], check=True, timeout=30)
    stuck.close()


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


def test_the_configured_limits_are_the_spools() -> None:
    # The tests' own limits stand for config.Spool; they must have the same names.
    assert set(vars(Limits())) <= set(SpoolConfig.model_fields)

"""The Storage SCP against real senders (DCMTK, pynetdicom): what it takes, what it refuses, and how it says so."""

from __future__ import annotations

import errno
import os
import random
import re
import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID_dictionary, generate_uid
from pynetdicom import AE, sop_class
from pynetdicom.dsutils import decode

from edgeai.api import SpoolFull
from edgeai.config import Spool as SpoolConfig
from edgeai.dicom import arrival
from edgeai.dicom.negotiation import AssociationRules, PeerRule
from edgeai.dicom.storage import IMAGE_CLASSES
from edgeai.dicom.syntaxes import SUPPORTED
from edgeai.roles.ingest import SpoolIntake
from edgeai.testing.dicom_peers import (
    BIG,
    CR,
    EXPLICIT,
    FULL,
    GARBAGE,
    IMPLICIT,
    INTERNAL,
    MISMATCH,
    SUCCESS,
    US,
    Limits,
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

# --- accepted -----------------------------------------------------------------------------------


def test_echo_is_answered_to_dcmtk(station: Receiving, storescu: str) -> None:
    station.start()
    subprocess.run([Path(storescu).with_name("echoscu"), "127.0.0.1", str(station.port)], check=True, timeout=600)


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
def test_dcmtk_sends_and_the_very_pixels_are_kept(station: Receiving, storescu: str, name: str, propose: str) -> None:
    source = get_testdata_file(name)
    assert isinstance(source, str)
    station.start()
    subprocess.run([storescu, "-R", propose, "127.0.0.1", str(station.port), source], check=True, timeout=600)
    sent, (kept,) = pydicom.dcmread(source), [pydicom.dcmread(path) for path in station.files]
    assert kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert kept.file_meta.MediaStorageSOPInstanceUID == kept.SOPInstanceUID == sent.SOPInstanceUID
    assert kept.PixelData == sent.PixelData
    assert station.jobs == 1


@pytest.mark.parametrize("syntax", sorted(SUPPORTED))
def test_every_transfer_syntax_arrives_as_it_was_sent(station: Receiving, syntax: str) -> None:
    dataset = radiograph(syntax)
    station.start()
    (status,) = send(station.port, dataset)
    assert status.Status == SUCCESS
    kept = pydicom.dcmread(station.files[0])
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert kept.file_meta.SourceApplicationEntityTitle == "SENDER"
    assert kept == dataset


@pytest.mark.parametrize("fragment", [64, 999, 70_000, 0])
def test_fragments_of_any_size_become_one_file(station: Receiving, fragment: int) -> None:
    body = body_of(dataset := radiograph(side=200))
    station.start()
    wire = Wire(station.port)
    wire.socket.sendall(b"".join(store_pdus(dataset.SOPInstanceUID, body, fragment=fragment)))
    assert wire.status().Status == SUCCESS
    assert station.files[0].read_bytes().endswith(body)
    wire.close()


def test_several_fragments_in_one_pdu_and_bytes_one_at_a_time(station: Receiving) -> None:
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


def test_an_answer_keeps_to_the_senders_maximum_length(station: Receiving) -> None:
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


def test_the_senders_order_of_transfer_syntaxes_is_kept(station: Receiving) -> None:
    station.start()
    ae = AE()
    ae.add_requested_context(CR, [BIG, EXPLICIT, IMPLICIT])
    association = ae.associate("127.0.0.1", station.port)
    assert [str(syntax) for syntax in association.accepted_contexts[0].transfer_syntax] == [BIG]
    association.release()


def test_every_storage_class_is_an_image_or_known_to_be_none() -> None:
    # A class that a new pynetdicom brings and that fits neither rule fails here, and somebody decides.
    without_pixels = (
        "SRStorage|Waveform|PresentationSta|Encapsulated|^RT(?!Image|Dose)|Radiation|Protocol|Measurements|Registration|"
        "Fiducials|Scan|Report|Document|Calculations|Results|Annotation|Relationship|Mapping|Spectroscopy|RawData|"
        "SurfaceSegmentation|ProcedureLog|StructuredDisplay"
    )
    for name, uid in sop_class._STORAGE_CLASSES.items():
        assert (uid in IMAGE_CLASSES) != bool(re.search(without_pixels, name)), name


def test_whatever_is_called_an_image_is_taken_and_nothing_is_taken_for_one() -> None:
    # A class that an update of either library brings fails here, and goes into the list.
    named = {str(uid): name for name, uid in vars(sop_class).items() if isinstance(uid, sop_class.SOPClass)}
    named |= {uid: keyword for uid, (_, kind, _, _, keyword) in UID_dictionary.items() if kind == "SOP Class"}
    storage = {uid: name for uid, name in named.items() if uid.startswith("1.2.840.10008.5.1.4.1.1.")}
    assert {uid for uid, name in storage.items() if "ImageStorage" in name} <= IMAGE_CLASSES <= storage.keys()
    others = {storage[uid] for uid in IMAGE_CLASSES if "ImageStorage" not in storage[uid]}
    assert others == {
        "EnhancedUSVolumeStorage",
        "ParametricMapStorage",
        "SegmentationStorage",
        "LabelMapSegmentationStorage",
        "HeightMapSegmentationStorage",
        "OphthalmicOpticalCoherenceTomographyBscanVolumeAnalysisStorage",
        "OphthalmicThicknessMapStorage",
        "CornealTopographyMapStorage",
        "RTDoseStorage",
    }


@pytest.mark.parametrize("keyword", ["UltrasoundImageStorageRetired", "UltrasoundMultiFrameImageStorageRetired"])
def test_carts_that_send_retired_classes_are_served(station: Receiving, keyword: str) -> None:
    uid = next(uid for uid, entry in UID_dictionary.items() if entry[4] == keyword)
    station.start()
    (status,) = send(station.port, radiograph(sop_class=uid))
    assert status.Status == SUCCESS


# --- duplicates ---------------------------------------------------------------------------------


def test_a_second_copy_is_a_success_and_no_second_job(station: Receiving) -> None:
    dataset = radiograph()
    station.start()
    assert [status.Status for status in send(station.port, dataset, dataset)] == [SUCCESS, SUCCESS]
    assert station.jobs == 1
    assert len(station.files) == 1


def test_two_senders_at_once_make_one_job(station: Receiving, storescu: str, tmp_path: Path) -> None:
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
    station: Receiving, rules: AssociationRules, why: tuple[int, int, int]
) -> None:
    station.start(rules)
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(CR, EXPLICIT)
    for _ in range(5):
        association = ae.associate("127.0.0.1", station.port, ae_title="EDGEAI")
        assert not association.is_established
        if association.is_rejected:
            break  # on a busy machine pynetdicom may see the end of the connection before the answer that came first
    assert association.is_rejected
    answer = association.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == why
    until(lambda: {kind for kind, _ in station.events} == {"association.rejected"})


def test_a_peer_that_is_listed_may(station: Receiving) -> None:
    peers = (PeerRule(ae_title="CART", host="192.0.2.1"), PeerRule(ae_title="SENDER", host="localhost"))
    station.start(AssociationRules(ae_title="EDGEAI", peers=peers, require_called_ae_title=True))
    (status,) = send(station.port, radiograph(), ae_title="EDGEAI")
    assert status.Status == SUCCESS


def test_one_association_too_many_is_told_to_come_back(station: Receiving) -> None:
    station.start(max_associations=2)
    held = [Wire(station.port) for _ in range(2)]
    late = Wire(station.port, associate=False)
    late.socket.sendall(associate_rq(((CR, EXPLICIT),)))
    assert late.pdu() == (3, b"\0\x02\x03\x02")
    held[0].close()
    until(lambda: station.scp is not None and station.scp.connections <= 2)
    (status,) = send(station.port, radiograph())
    assert status.Status == SUCCESS
    held[1].close()
    late.close()


def test_classes_without_pixels_are_not_accepted(station: Receiving) -> None:
    station.start()
    ae = AE()
    for uid in ("1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.104.1", CR):
        ae.add_requested_context(uid, EXPLICIT)
    ae.add_requested_context(US, "1.2.840.10008.1.2.4.100")  # MPEG2: nothing here decodes it
    association = ae.associate("127.0.0.1", station.port)
    assert [context.abstract_syntax for context in association.accepted_contexts] == [CR]
    assert sorted(context.result for context in association.rejected_contexts) == [3, 3, 4]
    association.release()


def test_a_full_disk_is_said_and_service_resumes_by_itself(station: Receiving, storescu: str, tmp_path: Path) -> None:
    file = save(radiograph(side=256), tmp_path / "image.dcm")
    station.start()
    station.limits.reserve_bytes = 1 << 62
    (status,) = send(station.port, pydicom.dcmread(file))
    assert status.Status == FULL
    assert "spool.disk-reserve" in status.ErrorComment
    assert (station.files, station.arriving, station.jobs) == ([], [], 0)
    assert station.events[0][0] == "spool.full"
    station.limits.reserve_bytes = 0
    subprocess.run([storescu, "127.0.0.1", str(station.port), file], check=True, timeout=600)
    assert station.jobs == 1


@pytest.mark.parametrize(
    ("number", "status", "code", "kind"),
    [
        (errno.ENOSPC, FULL, "spool.full", "spool.full"),  # no inodes left says the same
        (errno.EDQUOT, FULL, "spool.full", "spool.full"),
        (errno.EIO, INTERNAL, "spool.io", "instance.refused"),
        (errno.EROFS, INTERNAL, "spool.io", "instance.refused"),
    ],
)
def test_a_disk_that_takes_no_new_file_is_named(
    station: Receiving, monkeypatch: pytest.MonkeyPatch, number: int, status: int, code: str, kind: str
) -> None:
    def refuse(tmp: Path) -> Path:
        raise OSError(number, os.strerror(number), str(tmp))

    station.start()
    with monkeypatch.context() as patched:
        patched.setattr(arrival, "new_file", refuse)
        (answer,) = send(station.port, radiograph())
    assert (answer.Status, answer.ErrorComment.split(":")[0]) == (status, code)
    assert str(station.spool.folder) not in answer.ErrorComment
    assert [event[0] for event in station.events] == [kind]
    (answer,) = send(station.port, radiograph())
    assert answer.Status == SUCCESS


def test_a_disk_that_fills_while_receiving(station: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_instance_too_large_ends_the_association_early(station: Receiving) -> None:
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


def test_a_data_set_that_is_another_instance(station: Receiving) -> None:
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
def test_garbage_for_a_data_set_is_not_understood(station: Receiving, body: bytes) -> None:
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


def test_no_uid_leaves_in_an_event(station: Receiving) -> None:
    dataset = radiograph()
    body = body_of(dataset).replace(
        str(dataset.SOPInstanceUID).encode(), b"7.7.7/".ljust(len(dataset.SOPInstanceUID), b"7")
    )
    station.start()
    wire = Wire(station.port)
    wire.socket.sendall(b"".join(store_pdus(dataset.SOPInstanceUID, body)))
    assert wire.status().Status != SUCCESS
    wire.close()
    (event,), (told,) = station.events, station.told
    assert event[0] == "instance.refused"
    for uid in (str(dataset.SOPInstanceUID), str(dataset.SeriesInstanceUID), "7.7.7"):
        assert uid not in told + str(event)


def test_a_truncated_header_is_not_understood(station: Receiving) -> None:
    dataset = radiograph()
    station.start()
    wire = Wire(station.port)
    wire.socket.sendall(b"".join(store_pdus(dataset.SOPInstanceUID, body_of(dataset)[:150])))
    assert wire.status().Status == GARBAGE
    wire.close()


@pytest.mark.parametrize(("uid", "sop_class", "status"), [("not-a-uid", CR, 0x0117), ("1.2.3", US, 0x0122)])
def test_a_command_that_makes_no_sense(station: Receiving, uid: str, sop_class: str, status: int) -> None:
    station.start()
    wire = Wire(station.port)
    pdus = store_pdus("1.2.345678", body_of(radiograph()), sop_class=sop_class)
    pdus[0] = pdus[0].replace(b"1.2.345678", uid.encode().ljust(10, b"\0"))
    wire.socket.sendall(b"".join(pdus))
    assert wire.status().Status == status
    wire.close()


def test_a_mistake_of_ours_is_never_a_success(station: Receiving) -> None:
    class Broken(SpoolIntake):
        def admit(self, *_: Any, **__: Any) -> bool:
            raise RuntimeError("bug")

    broken = Broken(station.spool, lambda: {"guard": None})
    station.start(intake=broken)
    (status,) = send(station.port, radiograph())
    broken.close()
    assert status.Status == INTERNAL
    assert station.arriving == []


def test_who_sent_is_called_the_same_where_it_is_admitted_and_where_it_is_refused(station: Receiving) -> None:
    """Whatever stands behind the port gets the sender's name as it is, with nothing to take off again."""
    named: list[object] = []

    class Listening(SpoolIntake):
        def admit(self, *_: Any, source: str, **__: Any) -> bool:
            named.append(source)
            raise SpoolFull("full", code="spool.full")

    listening = Listening(station.spool, lambda: {"guard": None})
    station.start(intake=listening)
    send(station.port, radiograph())
    listening.close()
    refused = [facts["source"] for kind, facts in station.events if kind == "spool.full"]
    assert named == refused == ["SENDER@127.0.0.1"]


def test_nothing_else_is_served(station: Receiving) -> None:
    station.start()
    wire = Wire(station.port)
    pdus = store_pdus(generate_uid(), body_of(radiograph()), context_id=3)  # a C-STORE in the context of C-ECHO
    wire.socket.sendall(b"".join(pdus))
    assert wire.pdu()[0] == 7
    wire.close()


def test_the_configured_limits_are_the_spools() -> None:
    # The tests' own limits stand for config.Spool; they must have the same names.
    assert set(vars(Limits())) <= set(SpoolConfig.model_fields)

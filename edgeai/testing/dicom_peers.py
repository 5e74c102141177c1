"""DICOM senders for tests: datasets, a wire that says exactly what a test wants, and an SCP with a real spool."""

from __future__ import annotations

import random
import socket
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

from edgeai.dicom.negotiation import AssociationRules
from edgeai.dicom.scp import ScpOptions, StorageScp
from edgeai.roles.ingest import SpoolIntake
from edgeai.spool import DefaultLimits, Spool
from edgeai.testing.waiting import until

CR = "1.2.840.10008.5.1.4.1.1.1"
US = "1.2.840.10008.5.1.4.1.1.6.1"
ECHO = "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SUCCESS, FULL, MISMATCH, GARBAGE, INTERNAL = 0x0000, 0xA700, 0xA900, 0xC000, 0x0110


class Limits(DefaultLimits):
    """Spool limits that a test can change while the SCP runs."""

    def __init__(self) -> None:
        self.reserve_bytes = 0
        self.keep_files = "never"


class Receiving:
    """An SCP with a real spool, and what a test wants to know of both."""

    def __init__(self, folder: Path) -> None:
        self.limits = Limits()
        self.spool = Spool(folder / "spool", self.limits)
        self.intake = SpoolIntake(self.spool, lambda: {"guard": None})
        self.events: list[tuple[str, dict[str, object]]] = []
        self.messages: list[str] = []
        self.told: list[str] = []
        self.scp: StorageScp | None = None

    def start(self, rules: AssociationRules | None = None, intake: Any = None, **options: Any) -> StorageScp:
        """Listen on a free port; ``options`` as ``ScpOptions``."""
        settings = ScpOptions(rules=rules or AssociationRules(ae_title="EDGEAI"), port=0, **options)
        self.scp = StorageScp(settings, intake or self.intake, self._report)
        self.scp.start()
        return self.scp

    def _report(self, kind: str, message: str, facts: dict[str, object]) -> None:
        self.events.append((kind, facts))
        self.messages.append(message)
        self.told.append(message)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self.scp is not None
        return self.scp.port

    @property
    def jobs(self) -> int:
        """How many jobs wait."""
        return self.spool.backlog()[0]

    @property
    def files(self) -> list[Path]:
        """What is kept."""
        return sorted(self.spool.instances.iterdir())

    @property
    def arriving(self) -> list[Path]:
        """What is half received."""
        return list(self.spool.tmp.iterdir())

    def wait_for_quiet(self) -> None:
        """Until no connection is open; then nothing may be half received."""
        until(lambda: self.scp is None or self.scp.connections == 0)
        assert self.arriving == []

    def close(self) -> None:
        """Stop, and let go of the spool."""
        if self.scp is not None:
            self.scp.stop(0.2)
        self.intake.close()
        self.spool.close()


def radiograph(syntax: str = EXPLICIT, *, side: int = 64, uid: str | None = None, sop_class: str = CR) -> Dataset:
    """A small image; encapsulated syntaxes carry a fragment that nobody decodes here."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid or generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = generate_uid(), generate_uid(), "CR"
    dataset.PatientID, dataset.PatientName = "P", "Nobody"
    dataset.Rows = dataset.Columns = side
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    raw = random.Random(side).randbytes(side * side * 2)  # noqa: S311 - noise, not a secret
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
    """Write it as a DICOM file."""
    dataset.save_as(path, enforce_file_format=True)
    return path


class Wire:
    """A sender that says exactly what a test wants it to say."""

    def __init__(self, port: int, *, associate: bool = True, contexts: tuple[tuple[str, str], ...] = ()) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
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
        """The command set of the next response."""
        kind, body = self.pdu()
        assert kind == 4, kind
        command: Dataset = decode(BytesIO(body[6:]), True, True)
        return command

    def close(self, *, reset: bool = False) -> None:
        """Hang up; with a TCP reset, if asked."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def associate_rq(contexts: tuple[tuple[str, str], ...], max_length: int = 16382) -> bytes:
    """An A-ASSOCIATE-RQ PDU; context IDs are 1, 3, 5 ... in order."""
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
    """A C-STORE request as P-DATA-TF PDUs with fragments of so many bytes (0: the whole in one)."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
    request.DataSet = BytesIO(body)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return [bytes(P_DATA_TF(part).encode()) for part in message.encode_msg(context_id, fragment)]


def body_of(dataset: Dataset) -> bytes:
    """Its encoding as Explicit VR Little Endian, without File Meta."""
    encoded: bytes | None = encode(dataset, False, True)
    assert encoded is not None
    return encoded

"""C-STORE receive rate against a bare receiver: ``python benchmarks/receive.py``.

The limit is a receiver that speaks just enough DICOM for ``storescu``: one thread, TCP_QUICKACK, raw bytes to a
file, no header read, no spool. It is measured without fsync, and with the fsync that an honest answer needs.
Against it: edgeai's SCP keeping nothing, and with the real spool (fsync of file and folder, one transaction) before
each answer.
``storescu`` itself is part of every figure. Printed: median milliseconds an instance, and ratios to the limits.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CR = "1.2.840.10008.5.1.4.1.1.1"


def write_instance(path: Path, rows: int, columns: int) -> None:
    """One 16-bit radiograph of noise."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CR, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1  # storescu +II wants them there
    dataset.Modality, dataset.PatientID, dataset.PatientName = "CR", "BENCH", "Bench^Mark"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.random.default_rng(0).integers(0, 4096, (rows, columns), np.uint16).tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


# --- the limit --------------------------------------------------------------------------------


def _take(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _accept_all(request: bytes) -> bytes:
    """An A-ASSOCIATE-AC that takes each context's first transfer syntax (PS3.8 9.3.3)."""
    items, position = b"", 68
    while position < len(request):
        kind, length = struct.unpack_from(">BxH", request, position)
        body = request[position + 4 : position + 4 + length]
        if kind == 0x10:
            items += request[position : position + 4 + length]
        elif kind == 0x20:
            at = 4
            while body[at] != 0x40:
                at += 4 + struct.unpack_from(">H", body, at + 2)[0]
            syntax = body[at : at + 4 + struct.unpack_from(">H", body, at + 2)[0]]
            items += struct.pack(">BxHBxxx", 0x21, 4 + len(syntax), body[0]) + syntax
        position += 4 + length
    uid = b"1.2.3.4"
    user = struct.pack(">BxHL", 0x51, 4, 0) + struct.pack(">BxH", 0x52, len(uid)) + uid
    items += struct.pack(">BxH", 0x50, len(user)) + user
    return struct.pack(">BxL", 2, 68 + len(items)) + request[:68] + items


def _answer(command: bytes, context: int) -> bytes:
    message_id = command[command.index(struct.pack("<HHL", 0, 0x0110, 2)) + 8 :][:2]
    body = b"".join(
        struct.pack("<HHL", 0, number, len(value)) + value
        for number, value in (
            (0x0100, b"\x01\x80"),
            (0x0120, message_id),
            (0x0800, b"\x01\x01"),
            (0x0900, b"\x00\x00"),
        )
    )
    body = struct.pack("<HHLL", 0, 0, 4, len(body)) + body
    return struct.pack(">BxLLBB", 4, len(body) + 6, len(body) + 2, context, 3) + body


def bare(pipe: Connection, folder: Path, fsync: bool, notify: bool = False) -> None:
    """The limit: serves associations one after another, for ever. ``notify`` sends the moment each file is safe."""
    listener = socket.create_server(("127.0.0.1", 0))
    pipe.send(listener.getsockname()[1])
    buffer = bytearray(1 << 18)
    view = memoryview(buffer)
    number = 0
    while True:
        connection = listener.accept()[0]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.sendall(_accept_all(_take(connection, struct.unpack(">xxL", _take(connection, 6))[0])))
            while True:
                kind, length = struct.unpack(">BxL", _take(connection, 6))
                if kind == 5:
                    connection.sendall(struct.pack(">BxLxxxx", 6, 4))
                    break
                command = _take(connection, length)
                number += 1
                file = os.open(folder / f"{os.getpid()}-{number}.raw", os.O_WRONLY | os.O_CREAT)
                last = False
                while not last:
                    kind, length = struct.unpack(">BxL", _take(connection, 6))
                    last = bool(_take(connection, 6)[5] & 2)
                    left = length - 6
                    while left:
                        got = connection.recv_into(view[: min(left, len(view))])
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                        os.write(file, view[:got])
                        left -= got
                if fsync:
                    os.fsync(file)
                else:  # as the SCP that keeps nothing: no dirty pages left for the others to wait for
                    (folder / f"{os.getpid()}-{number}.raw").unlink()
                os.close(file)
                if notify:
                    pipe.send(time.monotonic())
                connection.sendall(_answer(command, command[4]))
        except (EOFError, OSError):
            pass
        connection.close()


# --- edgeai -----------------------------------------------------------------------------------


class Nowhere:
    """An intake that keeps nothing: what is left is the SCP's own time, header read included."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp

    def check_room(self, extra_bytes: int = 0) -> None:
        """There always is."""

    def admit(self, instance: object, received: Path, *, content: Callable[[], str], source: str) -> bool:
        """It is new, and gone."""
        return True


def edgeai(pipe: Connection, folder: Path, with_spool: bool) -> None:
    """The SCP with the real spool, as the ingest role joins them, and one deployment; or with none."""
    from edgeai.dicom.negotiation import AssociationRules
    from edgeai.dicom.scp import ScpOptions, StorageScp
    from edgeai.roles.ingest import SpoolIntake
    from edgeai.spool import Spool

    intake = SpoolIntake(Spool(folder / "spool"), lambda: {"bench": None}) if with_spool else Nowhere(folder)
    options = ScpOptions(rules=AssociationRules(ae_title="EDGEAI"), port=0)
    with StorageScp(options, intake, lambda *_: None) as scp:
        pipe.send(scp.port)
        while not pipe.poll(3600):
            pass


# --- measuring --------------------------------------------------------------------------------


class Receiver:
    """A receiver in a process of its own."""

    def __init__(self, serve: Callable[..., None], *arguments: object) -> None:
        self._pipe, there = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        self._process = spawn.Process(target=serve, args=(there, *arguments), daemon=True)
        self._process.start()
        self._address = ("127.0.0.1", str(self._pipe.recv()))
        self.figures: list[float] = []

    def measure(self, file: Path, instances: int) -> None:
        """One round of ``storescu``, without its own start and association."""
        started = time.perf_counter()
        subprocess.run(["storescu", "+II", *self._address, str(file)], check=True)
        first = time.perf_counter() - started
        started = time.perf_counter()
        subprocess.run(["storescu", "+II", "--repeat", str(instances), *self._address, str(file)], check=True)
        self.figures.append((time.perf_counter() - started - first) / (instances - 1) * 1000)

    def close(self) -> float:
        """Median milliseconds an instance."""
        self._process.kill()
        self._process.join()
        return statistics.median(self.figures)


class Bare:
    """The limit with fsync in a process of its own, and what it and ``storescu`` cost in processor time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pipe, there = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=bare, args=(there, folder, True, True), daemon=True
        )
        self._process.start()
        self._port = self._pipe.recv()

    def a_second(self, file: Path, instances: int) -> tuple[float, float, float]:
        """Instances a second, and milliseconds of processor time an instance: of the sender, of the receiver."""
        receiver_s, sender_s = self._seconds(), _children_seconds()
        options = ["+II", "--repeat", str(instances), "127.0.0.1", str(self._port)]
        subprocess.run(["storescu", *options, str(file)], check=True)
        at = [self._pipe.recv() for _ in range(instances)]
        sender_ms = (_children_seconds() - sender_s) * 1e3 / instances
        receiver_ms = (self._seconds() - receiver_s) * 1e3 / instances
        for path in self._folder.glob("*.raw"):
            path.unlink()
        os.sync()
        return (instances - 1) / (at[-1] - at[0]), sender_ms, receiver_ms

    def _seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(folder: Path, rows: int, columns: int, instances: int, rounds: int) -> list[float]:
    """Milliseconds of: bare, the SCP alone, bare with fsync, the SCP with the spool. Rounds take turns."""
    file = folder / "instance.dcm"
    write_instance(file, rows, columns)
    receivers = [
        Receiver(bare, folder, False),
        Receiver(edgeai, folder, False),
        Receiver(bare, folder, True),
        Receiver(edgeai, folder, True),
    ]
    for _ in range(rounds):
        for receiver in receivers:
            receiver.measure(file, instances)
    return [receiver.close() for receiver in receivers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="on the file system to measure; a temporary one by default")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if shutil.which("storescu") is None:
        raise SystemExit("storescu is not installed; apt-get install dcmtk")
    print("instance |    bare  SCP alone  ratio | bare+fsync  SCP+spool  ratio")
    for name, rows, columns, instances in (("15 MB", 3000, 2500, 20), ("0.5 MB", 512, 512, 200)):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            plain, alone, synced, ours = compare(Path(folder), rows, columns, instances, options.rounds)
        print(
            f"{name:>8} | {plain:5.2f}ms {alone:8.2f}ms {alone / plain:5.2f}x |"
            f" {synced:8.2f}ms {ours:8.2f}ms {ours / synced:5.2f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()

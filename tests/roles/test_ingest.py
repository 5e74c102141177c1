"""The ingest role as a process: DICOM in by network and folder, rows and files in the spool, and an orderly end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import ArtifactDecl, Eligibility, TaskUse, TensorDecl
from edgeai.spool import FAILED, Spool, read_note
from edgeai.testing.broker import free_port
from edgeai.testing.bundles import small_manifest
from edgeai.testing.dicom_peers import SUCCESS, Wire, body_of, radiograph, save, send, store_pdus
from edgeai.testing.waiting import until

TENSOR = TensorDecl(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")


class Role:
    """``python -m edgeai.roles ingest`` on a profile of its own."""

    def __init__(self, folder: Path, **tables: Any) -> None:
        self.folder = folder
        self.data = folder / "var"
        self.port = free_port()
        self.profile = folder / "profile.toml"
        self.profile.write_text(_profile(self.data, self.port, **tables))
        self.spool = Spool(self.data / "spool")
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "edgeai.roles", "ingest", "--config", str(self.profile)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        until(lambda: self._listens() or self.exited is not None)

    @property
    def exited(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit status and what it logged."""
        assert self.process is not None
        self.process.send_signal(number)
        _, logged = self.process.communicate(timeout=600)
        return self.process.returncode, logged

    def jobs(self) -> dict[str, int]:
        with self.spool.db.read() as db:
            return dict(db.execute("SELECT deployment, COUNT(*) FROM jobs GROUP BY deployment").fetchall())

    def events(self) -> list[dict[str, Any]]:
        with self.spool.db.read() as db:
            rows = db.execute("SELECT body FROM messages WHERE channel = 'event' ORDER BY rowid").fetchall()
        return [json.loads(row[0]) for row in rows]


def _profile(data: Path, port: int, *, bundles: dict[str, Path] | None = None, more: str = "", scp: str = "") -> str:
    deployments = "".join(f'[[deployments]]\nname = "{n}"\nbundle = "{p}"\n' for n, p in (bundles or {}).items())
    return f"""
schema = 1
[device]
id = "cart"
site = "lab"
data_dir = "{data}"
[trust]
unsigned = "accept"
[supervise]
heartbeat_s = 0.1
[spool]
reserve_bytes = 0
[log]
level = "debug"
[ingest.scp]
port = {port}
{scp}
{more}
{deployments}
"""


def _bundle(path: Path, **eligibility: Any) -> Path:
    source = path.with_suffix("")
    source.mkdir()
    (source / "model.bin").write_bytes(b"model")
    manifest = small_manifest(
        name=path.stem,
        plugins=("classify",),
        eligibility=Eligibility(**eligibility),
        task=TaskUse(name="classify"),
        inputs=(TENSOR,),
        outputs=(TensorDecl(name="scores", dtype="float32", shape=(1, 2)),),
        artifacts=(ArtifactDecl(id="fp32", format="fake", precision="fp32", path="model.bin"),),
    )
    pack(source, manifest, path)
    return path


@pytest.fixture
def make_role(tmp_path: Path) -> Iterator[Callable[..., Role]]:
    made: list[Role] = []

    def make(**tables: Any) -> Role:
        made.append(Role(tmp_path, **tables))
        made[-1].start()
        return made[-1]

    yield make
    for role in made:
        if role.exited is None:
            role.end(signal.SIGKILL)
        role.spool.close()


def test_instances_become_jobs_of_the_deployments_they_are_for(
    make_role: Callable[..., Role], tmp_path: Path, storescu: str
) -> None:
    bundles = {
        "chest": _bundle(tmp_path / "chest.edgeai", modality=("CR", "DX")),
        "any": _bundle(tmp_path / "any.edgeai"),
        "breast": _bundle(tmp_path / "breast.edgeai", modality=("US",)),
    }
    role = make_role(bundles=bundles)
    files = [save(radiograph(), tmp_path / f"{number}.dcm") for number in range(5)]
    subprocess.run([storescu, "127.0.0.1", str(role.port), *files], check=True, timeout=600)
    assert role.jobs() == {"chest": 5, "any": 5}
    until(lambda: role.spool.notes()["ingest"].detail.get("received") == 5)
    note = role.spool.notes()["ingest"]
    assert (note.state, note.pid) == ("ready", role.process.pid if role.process else 0)
    status, logged = role.end()
    assert (status, role.events()) == (0, [])
    assert "Nobody" not in logged  # the patient's name


def test_an_instance_for_no_deployment_is_acknowledged_and_said(make_role: Callable[..., Role], tmp_path: Path) -> None:
    role = make_role(bundles={"breast": _bundle(tmp_path / "breast.edgeai", modality=("US",))})
    dataset = radiograph()
    assert [status.Status for status in send(role.port, dataset, dataset)] == [SUCCESS, SUCCESS]
    until(lambda: role.events() != [])
    (event,) = role.events()
    assert event["kind"] == "instance.not-eligible"
    assert event["facts"]["why"].startswith("breast: modality is CR")
    assert dataset.SOPInstanceUID not in json.dumps(event)
    assert role.jobs() == {}


def test_a_bundle_that_cannot_be_read_is_said_and_its_jobs_are_made(
    make_role: Callable[..., Role], tmp_path: Path
) -> None:
    (tmp_path / "damaged.edgeai").write_bytes(b"not a bundle")
    role = make_role(bundles={"damaged": tmp_path / "damaged.edgeai", "missing": tmp_path / "missing.edgeai"})
    send(role.port, radiograph())
    assert role.jobs() == {"damaged": 1, "missing": 1}
    until(lambda: len(role.events()) >= 2)
    assert {event["kind"] for event in role.events()} == {"deployment.bundle-unreadable"}
    assert {event["facts"]["deployment"] for event in role.events()} == {"damaged", "missing"}


def test_folders_are_watched_from_the_start(make_role: Callable[..., Role], tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    save(radiograph(), inbox / "before.dcm")
    more = f'[[ingest.folders]]\npath = "{inbox}"\nsettle_s = 0.1\n'
    role = make_role(bundles={"any": _bundle(tmp_path / "any.edgeai")}, more=more)
    save(radiograph(), inbox / "after.dcm")
    until(lambda: role.jobs() == {"any": 2})
    until(lambda: sorted(path.name for path in inbox.glob("done/*")) == ["after.dcm", "before.dcm"])
    assert role.end()[0] == 0


def test_sigterm_lets_the_arriving_instance_arrive(make_role: Callable[..., Role], tmp_path: Path) -> None:
    role = make_role(bundles={"any": _bundle(tmp_path / "any.edgeai")})
    dataset = radiograph(side=256)
    pdus = store_pdus(dataset.SOPInstanceUID, body_of(dataset))
    wire = Wire(role.port)
    wire.socket.sendall(b"".join(pdus[:4]))
    until(lambda: len(list(role.spool.tmp.iterdir())) == 1)
    assert role.process is not None
    role.process.terminate()
    until(lambda: not role._listens())
    wire.socket.sendall(b"".join(pdus[4:]))
    assert wire.status().Status == SUCCESS
    assert wire.pdu()[0] == 7
    role.process.communicate(timeout=600)
    assert (role.process.returncode, role.jobs()) == (0, {"any": 1})


@pytest.mark.slow
def test_kill_nine_at_any_moment_keeps_every_acknowledged_instance(
    make_role: Callable[..., Role], tmp_path: Path
) -> None:
    role = make_role(bundles={"any": _bundle(tmp_path / "any.edgeai")})
    acknowledged: set[str] = set()
    for number in range(5):
        wire = Wire(role.port)
        for sent in range(2 + number):
            dataset = radiograph(side=64 + sent)
            wire.socket.sendall(b"".join(store_pdus(dataset.SOPInstanceUID, body_of(dataset))))
            assert wire.status().Status == SUCCESS
            acknowledged.add(str(dataset.SOPInstanceUID))
        half = radiograph(side=256)
        wire.socket.sendall(b"".join(store_pdus(half.SOPInstanceUID, body_of(half))[: 2 * number]))
        role.end(signal.SIGKILL)
        wire.close()
        role.start()
    assert list(role.spool.tmp.iterdir()) == []
    with role.spool.db.read() as db:
        known = {row[0] for row in db.execute("SELECT sop_instance_uid FROM instances")}
    assert known == acknowledged
    assert role.jobs() == {"any": len(acknowledged)}
    assert len(list(role.spool.instances.iterdir())) == len(acknowledged)


def test_tls_files_that_are_none_end_the_role_with_the_reason(make_role: Callable[..., Role], tmp_path: Path) -> None:
    first = make_role()
    command = [sys.executable, "-m", "edgeai.roles", "ingest", "--config"]
    other = tmp_path / "other.toml"
    absent = ('{ certificate = "none.pem", key = "none.key" }', "config.tls")
    for tls, code in (absent, ('{ ca = "ca.pem" }', "config.invalid")):
        other.write_text(_profile(tmp_path / "var2", free_port(), scp=f"tls = {tls}"))
        done = subprocess.run([*command, str(other)], capture_output=True, text=True, timeout=600)
        assert (done.returncode, code in done.stderr) == (78, True)
        if code == "config.tls":  # with the other the profile cannot be read, and so not where the note would be
            note = read_note(tmp_path / "var2" / "spool" / "roles" / "ingest.note")
            assert note is not None
            assert (note.state, note.detail["code"]) == (FAILED, code)
    done = subprocess.run([*command, str(first.profile)], capture_output=True, text=True, timeout=600)
    assert (done.returncode, "spool.locked" in done.stderr) == (70, True)


def test_memory_and_threads_stay_small_over_many_associations(make_role: Callable[..., Role], tmp_path: Path) -> None:
    role = make_role(bundles={"any": _bundle(tmp_path / "any.edgeai")})
    assert role.process is not None
    process = psutil.Process(role.process.pid)

    def round_trip() -> None:
        (status,) = send(role.port, radiograph(side=512))
        assert status.Status == SUCCESS

    def quiet(received: int) -> bool:
        detail = role.spool.notes()["ingest"].detail
        return detail.get("received") == received and detail.get("connections") == 0

    for _ in range(5):
        round_trip()
    until(lambda: quiet(5))
    files, threads = process.num_fds(), process.num_threads()
    for _ in range(20):
        round_trip()
    until(lambda: quiet(25))
    assert process.num_fds() <= files + 4  # the pool of spool threads may still grow to its size
    assert process.num_threads() <= threads + 4
    assert process.memory_info().rss < 200e6
    assert role.jobs() == {"any": 25}


def test_no_engine_or_plugin_code_is_imported() -> None:
    code = (
        "import sys, edgeai.roles.ingest\n"
        "print([m for m in sys.modules if m.startswith(('edgeai.plugins', 'edgeai.model', 'edgeai.sinks', 'cv2',"
        " 'tensorflow', 'openvino', 'paho'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "[]"

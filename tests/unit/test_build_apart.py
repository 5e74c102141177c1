"""A foreign model is loaded in a child that reaches neither network nor home, and writes nothing that stays."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.api import (
    BackendSpec,
    BackendUnavailable,
    InferenceFailed,
    ModelRejected,
    OpenRequest,
    SessionClosed,
    TensorMismatch,
    TensorSpec,
)
from edgeai.api.tensors import DTYPES
from edgeai.testing.distributions import write_fake_distribution
from edgeai.testing.require import require
from edgeai_workbench.apart import confinement, opened_apart, wire
from edgeai_workbench.apart.confinement import find_confinement

pytestmark = pytest.mark.slow

X = (TensorSpec(name="x", dtype="float32", shape=(1, 3), layout="NC"),)

TRESPASSER = """
import json, os, signal, socket, time
from pathlib import Path
import numpy as np
from edgeai.api import BackendSpec, Described, Device, InferenceFailed, ModelRejected, TensorSpec, hookimpl
EDGEAI_API = (1, 0)
X = (TensorSpec(name="x", dtype="float32", shape=(1, None)),)

def connect(kind, where):
    with socket.socket(kind) as made:
        made.settimeout(5)
        made.connect(where)

WAYS = {
    "write beside the model": lambda told: Path(told["model"]).with_name("written").write_text("x"),
    "change the model": lambda told: Path(told["model"]).write_text("x"),
    "write into the home": lambda told: Path(told["home"], "written").write_text("x"),
    "write into /var": lambda told: Path("/var/written").write_text("x"),
    "read a secret": lambda told: Path(told["home"], "secret").read_text(),
    "connect": lambda told: connect(socket.AF_INET, ("127.0.0.1", told["port"])),
    "connect to a socket of the file system": lambda told: connect(socket.AF_UNIX, told["socket"]),
    "connect to an abstract socket": lambda told: connect(socket.AF_UNIX, "\\0" + told["abstract"]),
    "signal who loads it": lambda told: os.kill(told["pid"], 0),
    "read its environment": lambda told: os.environ["EDGEAI_KEY_PASSPHRASE"],
    "read the model": lambda told: Path(told["model"]).read_text(),
    "write what does not stay": lambda told: Path(told["scratch"]).write_text("x"),
}

def done(way, told):
    try:
        WAYS[way](told)
    except (OSError, KeyError):
        return False
    return True

class Session:
    device = "CPU"
    def __init__(self, told): self.told = told
    def run(self, inputs):
        how = self.told.get("run")
        if how == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "abort":
            os.abort()
        if how == "hang":
            time.sleep(10_000)
        if how == "fail":
            raise InferenceFailed("it fails", remedy="none")
        if how == "talk":
            os.write(1, b"this goes to whoever reads the log")
        if how == "garble":
            for handle in range(3, 12):
                try:
                    os.write(handle, b"\\xff" * 64)
                except OSError:
                    pass
        return {"x": inputs["x"] * 2} if how != "else" else {"x": np.zeros((1, 5), np.float32)}
    def stream(self, inputs): return map(self.run, inputs)
    def close(self): pass

def opened(request):
    told = json.loads(Path(request.artifact).read_text())
    if told.get("open") == "refuse":
        raise ModelRejected("no", code="backend.artifact-unsafe", remedy="another")
    return Session(told)

def describe(artifact):
    told = json.loads(Path(artifact).read_text())
    names = [way for way in told.get("tried", ()) if done(way, told)]
    return Described(inputs=X, outputs=X, scales={name: (1.0, 0) for name in names})

@hookimpl
def edgeai_backends():
    return (BackendSpec(name="trespasser", artifact_format="t", probe=lambda: (Device(name="CPU"),), open=opened,
        engine=lambda: "trespasser 1", describe=describe),)
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``model(open=..., run=...)`` -> a file that the plugin ``trespasser``, which is installed, takes."""
    write_fake_distribution(tmp_path / "plugins", name="trespasser", module_source=TRESPASSER)
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))

    def make(**told: Any) -> Path:
        path = tmp_path / "model.t"
        path.write_text(json.dumps(told))
        return path

    return make


@pytest.fixture(params=["bubblewrap", "namespaces"])
def confined(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way that there is."""
    monkeypatch.setattr(confinement, "WAYS", (request.param,))
    there = find_confinement()
    require(request.param, bool(there.way), there.why)
    return str(request.param)


@pytest.fixture
def unconfined(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no way."""
    monkeypatch.setattr(confinement, "WAYS", ())


def backend() -> BackendSpec:
    from edgeai.plugins import Registry

    return Registry.of(["trespasser"]).backends["trespasser"]


def apart(model: Path, **more: Any) -> AbstractContextManager[tuple[BackendSpec, str]]:
    return opened_apart(backend(), "trespasser", [model], **more)


def run(model: Path, **more: Any) -> np.ndarray[Any, Any]:
    with apart(model, **more) as (spec, _):
        session = spec.open(OpenRequest(artifact=model, device="CPU", inputs=X, outputs=X))
        return session.run({"x": np.array([[1, 2, 3]], np.float32)})["x"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What somebody who loads a model has around them."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "secret").write_text("x")
    monkeypatch.setenv("EDGEAI_KEY_PASSPHRASE", "correct horse")
    abstract = f"edgeai-test-{os.getpid()}"
    listening = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    short = Path(os.path.relpath(tmp_path)) / "s"  # a path of a socket has 108 characters
    listening[1].bind(str(short))
    listening[2].bind("\0" + abstract)
    for one in listening[1:]:
        one.listen()
    known = {"home": str(home), "port": listening[0].getsockname()[1], "socket": str(tmp_path / "s")}
    scratch = f"/tmp/{abstract}"
    yield {**known, "abstract": abstract, "pid": os.getpid(), "model": str(tmp_path / "model.t"), "scratch": scratch}
    for one in listening:
        one.close()


EVERYTHING = [line.split('"')[1] for line in TRESPASSER.splitlines() if line.startswith('    "')]


def trespasses(model: Callable[..., Path], world: dict[str, Any], tried: list[str]) -> set[str]:
    """What of it the child could do."""
    path = model(tried=tried, **world)
    with apart(path) as (spec, _):
        assert spec.describe is not None
        return set(spec.describe(path).scales)


def test_a_confined_child_can_do_nothing_that_stays(
    confined: str, model: Callable[..., Path], world: dict[str, Any], tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    trespassed = trespasses(model, world, EVERYTHING)
    # Beside the model there is the child's own file system in memory.
    assert trespassed == {"read the model", "write what does not stay", "write beside the model"}
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "__pycache__"}
    assert set(after) - set(before) <= {tmp_path / "model.t"}
    assert not Path(world["scratch"]).exists()


def test_without_a_way_it_works_and_is_said(
    unconfined: None, model: Callable[..., Path], world: dict[str, Any]
) -> None:
    tried = ["read a secret", "connect", "connect to a socket of the file system", "connect to an abstract socket"]
    tried += ["signal who loads it", "write into the home"]
    assert trespasses(model, world, [*tried, "read its environment"]) == set(tried), "so the others were kept from it"
    with apart(model()) as (_, how):
        assert "NOT confined" in how


def test_what_is_said_names_the_way(confined: str, model: Callable[..., Path]) -> None:
    with apart(model()) as (_, how):
        assert how.startswith("loaded in a process without network, home and write access")


def test_answers_come_back(confined: str, model: Callable[..., Path]) -> None:
    np.testing.assert_array_equal(run(model()), [[2, 4, 6]])
    np.testing.assert_array_equal(run(model(run="talk")), [[2, 4, 6]])
    with apart(path := model()) as (spec, _):
        assert [device.name for device in spec.probe()] == ["CPU"]
        assert spec.engine() == "trespasser 1"
        assert spec.describe is not None
        assert spec.describe(path).inputs[0].shape == (1, None)
        session = spec.open(OpenRequest(artifact=path, device="CPU", inputs=X, outputs=X))
        ones = {"x": np.ones((1, 3), np.float32)}
        assert [answer["x"].sum() for answer in session.stream([ones, ones])] == [6, 6]
        session.close()
        session.close()
        with pytest.raises(SessionClosed):
            session.run(ones)


def test_errors_come_back_as_they_were(confined: str, model: Callable[..., Path]) -> None:
    with pytest.raises(ModelRejected, match="no") as caught:
        run(model(open="refuse"))
    assert (caught.value.code, caught.value.remedy) == ("backend.artifact-unsafe", "another")
    with pytest.raises(InferenceFailed, match="it fails"):
        run(model(run="fail"))
    with pytest.raises(TensorMismatch):
        run(model(run="else"))


@pytest.mark.parametrize(("how", "signals"), [("die", {"SIGSEGV"}), ("abort", {"SIGABRT"})])
@pytest.mark.parametrize("way", ["bubblewrap", "namespaces", ""])
def test_a_death_is_the_models_and_is_named(
    model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, way: str, how: str, signals: set[str]
) -> None:
    monkeypatch.setattr(confinement, "WAYS", (way,) if way else ())
    if way:
        there = find_confinement()
        require(way, bool(there.way), there.why)
    with pytest.raises(ModelRejected) as caught:
        run(model(run=how))
    assert caught.value.code == "backend.opening-died"
    assert any(name in str(caught.value) for name in signals), str(caught.value)
    assert caught.value.remedy


def test_silence_ends(confined: str, model: Callable[..., Path]) -> None:
    before = threading.active_count()
    with pytest.raises(ModelRejected, match="said nothing") as caught:
        run(model(run="hang"), silent_s=5.0)
    assert caught.value.code == "backend.opening-died"
    assert threading.active_count() <= before  # one of an earlier test may have ended meanwhile


def test_what_makes_no_sense_is_not_believed(unconfined: None, model: Callable[..., Path]) -> None:
    with pytest.raises(ModelRejected) as caught:
        run(model(run="garble"))
    assert caught.value.code == "backend.opening-died"


def test_a_plugin_that_cannot_be_loaded_there(confined: str, model: Callable[..., Path], tmp_path: Path) -> None:
    spec = backend()
    (tmp_path / "plugins" / "trespasser.py").write_text("raise ImportError('no engine here')")
    path = model()
    with opened_apart(spec, "trespasser", [path]) as (there, _), pytest.raises(BackendUnavailable, match="no engine"):
        there.probe()


def test_the_interpreters_own_folders_are_seen_and_the_home_is_not(tmp_path: Path) -> None:
    needed = confinement.needed([tmp_path])
    assert tmp_path in needed
    hidden = [Path(path) for path in confinement.hidden()]
    assert Path.home() in hidden
    assert not any(path in needed for path in (*hidden, *(parent for path in hidden for parent in path.parents)))
    interpreter = Path(sys.executable).parent
    assert not any(interpreter.is_relative_to(path) for path in hidden) or any(
        interpreter.is_relative_to(path) for path in needed
    )


# --- the wire -----------------------------------------------------------------------------------------


def test_arrays_of_every_kind_come_over(tmp_path: Path) -> None:
    sent = {name: np.array([[0, 1], [1, 0]]).astype(name) for name in DTYPES}
    sent |= {"turned": np.arange(6, dtype=np.int16).reshape(2, 3).T, "none": np.zeros((0, 3)), "one": np.float32(3)[()]}
    stream = io.BytesIO()
    wire.write(stream, {"do": "x"}, {name: np.asarray(array) for name, array in sent.items()})
    stream.seek(0)
    head, arrays = wire.read(stream)
    assert head == {"do": "x"}
    for name, array in sent.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == np.asarray(array).dtype


def message(head: bytes, body: bytes = b"", *, lengths: tuple[int, int] | None = None) -> io.BytesIO:
    return io.BytesIO(struct.pack(">QQ", *(lengths or (len(head), len(body)))) + head + body)


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (message(b"{"), ValueError),
        (message(b"[]"), ValueError),
        (message(b"null"), ValueError),
        (message(b"\xff"), ValueError),
        (message(b"{}"), ValueError),
        (message(b"[" * 100_000), ValueError),
        (message(b'{"arrays": [["a", "object", [1]]]}', b"12345678"), ValueError),
        (message(b'{"arrays": [["a", "uint8", [1000000000000]]]}', b"1"), ValueError),
        (message(b'{"arrays": [["a", "uint8", [-1]]]}', b"1"), ValueError),
        (message(b'{"arrays": [["a", "uint8", [1.5]]]}', b"1"), ValueError),
        (message(b'{"arrays": [["a", "uint8", [1]]]}', b"12"), ValueError),
        (message(b'{"arrays": [["a"]]}'), ValueError),
        (message(b'{"arrays": 3}'), ValueError),
        (message(b"{}", lengths=(1 << 40, 0)), ValueError),
        (message(b"{}", lengths=(2, 1 << 60)), ValueError),
        (message(b"{}", lengths=(2, 10)), EOFError),
        (io.BytesIO(b"\0" * 15), EOFError),
        (io.BytesIO(), EOFError),
    ],
    ids=range(18),
)
def test_a_message_that_is_none(stream: io.BytesIO, error: type[Exception]) -> None:
    with pytest.raises(error):
        wire.read(stream)

"""A backend in a process of its own, for models that someone else made: without network, home and write access.

What a foreign file makes an engine do when it loads it is not known before it is done. So it is done in a child, in
namespaces of its own where this machine has them (bubblewrap, or else the kernel's own), with a time limit, and on the
CPU. Where it has none, the child is a plain process, and that is said.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from edgeai import request_json
from edgeai.api import (
    BackendSpec,
    BackendUnavailable,
    Described,
    Device,
    EdgeaiError,
    ModelRejected,
    OpenRequest,
    Session,
    SessionClosed,
    Tensors,
    check_tensors,
    errors,
)
from edgeai_workbench.apart import wire
from edgeai_workbench.apart.confinement import Confinement, child_command, child_environment, find_confinement

SILENT_S: Final = 900.0
"""A child that does not answer for so long is ended."""


@contextlib.contextmanager
def opened_apart(
    backend: BackendSpec, plugin: str, files: Sequence[Path], *, silent_s: float = SILENT_S
) -> Iterator[tuple[BackendSpec, str]]:
    """The same backend, each of whose calls is made in a child, and a sentence on how that is confined.

    Args:
        backend: of the registry; only its name is taken over.
        plugin: which provides it.
        files: files and folders of the model, which the child may read.
        silent_s: how long one call may take.

    Raises:
        BackendUnavailable: the child does not start.
    """
    readable = [path.absolute() for path in files]
    confined = find_confinement()
    child = _Child(backend.name, plugin, confined, readable, silent_s)
    try:
        yield (
            replace(
                backend,
                probe=child.probe,
                open=child.open,
                engine=lambda: str(child.ask("engine")[0]["engine"]),
                explain=lambda: str(child.ask("explain")[0]["explain"]),
                describe=child.describe if backend.describe is not None else None,
            ),
            str(confined),
        )
    finally:
        child.close()


class _Child:
    """The process, and the questions that it is asked, one at a time."""

    def __init__(
        self, backend: str, plugin: str, confined: Confinement, readable: Sequence[Path], silent_s: float
    ) -> None:
        self._name, self._silent_s = backend, silent_s
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed with the child
        self._process = subprocess.Popen(
            child_command(confined, readable, ["edgeai_workbench.apart.child", plugin, backend]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=child_environment(),
            cwd="/",
            start_new_session=True,
        )
        self._lock = threading.Lock()

    def ask(self, what: str, tensors: Tensors | None = None, **facts: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """One question and its answer: facts and arrays.

        Raises:
            EdgeaiError: what the backend raised there.
            ModelRejected: ``backend.opening-died``: the child is gone, or was ended since it said nothing.
        """
        timer = threading.Timer(self._silent_s, self._process.kill)
        timer.start()
        try:
            with self._lock:
                wire.write(cast("BinaryIO", self._process.stdin), {"do": what, **facts}, tensors or {})
                answer, arrays = wire.read(cast("BinaryIO", self._process.stdout))
        except (OSError, EOFError, ValueError) as error:
            raise self._gone(timer, error) from error
        finally:
            timer.cancel()
        if "error" in answer:
            raise _error_of(answer["error"])
        return answer, arrays

    def probe(self) -> tuple[Device, ...]:
        """See ``BackendSpec``."""
        return tuple(Device(name=str(name)) for name in self.ask("probe")[0]["devices"])

    def describe(self, artifact: Path) -> Described:
        """See ``BackendSpec``."""
        answer = self.ask("describe", artifact=str(artifact.absolute()))[0]
        return Described(
            inputs=request_json.specs(answer["inputs"]),
            outputs=request_json.specs(answer["outputs"]),
            scales={str(name): (float(scale), int(zero)) for name, (scale, zero) in answer["scales"].items()},
            ranges={str(n): (float(ends[0]), float(ends[1])) if ends else None for n, ends in answer["ranges"].items()},
            activations={str(name): str(how) for name, how in answer["activations"].items()},
            notes=tuple(str(note) for note in answer["notes"]),
        )

    def open(self, request: OpenRequest) -> Session:
        """See ``BackendSpec``; one at a time."""
        self.ask("open", request=request_json.request(request))
        return _Session(self, request)

    def close(self) -> None:
        """End the process, and whatever it started."""
        with contextlib.suppress(OSError):
            cast("BinaryIO", self._process.stdin).close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        cast("BinaryIO", self._process.stdout).close()
        self._said.close()

    def _gone(self, timer: threading.Timer, error: Exception) -> EdgeaiError:
        """Why there is no answer. ``timer``: whether it was ended for that."""
        was_silent = not timer.is_alive()
        if isinstance(error, ValueError):
            self._process.kill()
        try:
            status = self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        last = self._last_words()
        if status == wire.NOT_STARTED:
            return BackendUnavailable(f"backend {self._name} does not start in a process of its own: {last}")
        how = f"said nothing for {self._silent_s:g} s" if was_silent else _ended(status)
        if isinstance(error, ValueError):
            how = f"answered what makes no sense ({error})"
        return ModelRejected(
            f"the process that opened the model {how}" + (f"; its last words: {last}" if last else ""),
            code="backend.opening-died",
            remedy="do not use this file, unless you know why its engine ends on it; export the model again",
        )

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return "".join(character if character.isprintable() else " " for character in last)[:500]


class _Session:
    """See ``Session``."""

    def __init__(self, child: _Child, request: OpenRequest) -> None:
        self._child: _Child | None = child
        self._request = request

    @property
    def device(self) -> str:
        """The device that was asked for."""
        return self._request.device

    def run(self, inputs: Tensors) -> Tensors:
        """One inference."""
        if self._child is None:
            raise SessionClosed("the session is closed", remedy="open the model again")
        outputs = self._child.ask("run", inputs)[1]
        check_tensors(self._request.outputs, outputs, what="output")
        return outputs

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """One after the other."""
        return map(self.run, inputs)

    def close(self) -> None:
        """Free the engine."""
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(EdgeaiError):
                child.ask("close")


def _error_of(row: dict[str, Any]) -> EdgeaiError:
    """The error of the other side, of the same class where it is one of the header's."""
    kind = getattr(errors, str(row.get("kind")), None)
    known = isinstance(kind, type) and issubclass(kind, EdgeaiError)
    remedy = row.get("remedy")
    make = cast("type[EdgeaiError]", kind) if known else EdgeaiError
    return make(str(row.get("message")), code=str(row.get("code")), remedy=str(remedy) if remedy else None)


def _ended(status: int) -> str:
    number = -status if status < 0 else status - 128
    try:
        return f"died of {signal.Signals(number).name}"
    except ValueError:
        return f"ended with status {status}"

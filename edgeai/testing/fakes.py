"""Backends without an engine: one that works, and its sisters that abort, hang, leak and lie.

All of them open artifacts of the format ``fake``: a small JSON file that says what to answer and, if it
is to be poisonous, how it misbehaves and when. So one deployment can be fine but for some images::

    write_fake_artifact(path, inputs, outputs, misbehave=Misbehaviour(how="abort", mean_above=0.9))

The answer is a function of the mean of the first input, so that different images differ.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import (
    Array,
    BackendSpec,
    BackendUnavailable,
    Described,
    Device,
    ModelRejected,
    OpenRequest,
    SessionClosed,
    Tensors,
    TensorSpec,
    check_tensors,
)

FORMAT = "fake"
GORGES = """
import time
def _gorge(how):
    hoard = []
    while True:
        hoard.append(b"x" * 8_000_000)
        time.sleep(0.005)
fakes._die = _gorge
"""
"""As a plugin's prelude: an engine that takes memory without end for what it misbehaves on."""
DEVICES = (Device(name="CPU", description="no engine at all"), Device(name="FAKE.1", description="a second one"))

WAYS = {
    "abort": "os.abort(): the process dies of SIGABRT, as of an assertion in native code",
    "exit": "raises SystemExit",
    "hang": "never returns; other threads go on",
    "hang-holding-the-gil": "never returns and lets no other thread run, as native code that forgot",
    "slow": "sleeps 0.2 s, then answers",
    "leak": "keeps a megabyte for each run",
    "raise": "raises an exception that is not of edgeai",
    "raise-base": "raises an exception that is not even an Exception",
    "wrong-shape": "answers with one element too many",
    "wrong-dtype": "answers in float64",
    "wrong-names": "answers under another name",
    "nan": "answers NaN",
    "zeros": "answers zeros whatever was asked",
    "share": "answers in the same arrays each time",
    "elsewhere": "opens another device than the one that was asked for",
    "gullible": "opens what is no artifact, and answers zeros",
    "eager": "takes the whole stream before it answers",
    "drop": "answers only every second input of a stream",
    "open-again": "runs although it was closed",
    "careless": "takes whatever inputs it is given",
    "many-threads": "computes on four threads whatever was asked",
    "prints": "prints to standard output, by C, as it runs",
    "misdescribes": "says of its artifacts that their tensors have one more axis",
    "remembers": "answers as if a quarter of the image before lay over this one; opens what keeps state",
    "remembers-in-streams": "does so in a stream alone",
    "remembers-between": "does so in a stream alone, of what was run between two of its answers",
}
"""Ways to misbehave, for ``Misbehaviour.how``."""


class OddError(BaseException):
    """What no plugin should raise."""


@dataclass(frozen=True, kw_only=True)
class Misbehaviour:
    """How a fake misbehaves, and when: always, or only when every condition given holds.

    Attributes:
        how: of ``WAYS``.
        at: ``run``, or ``open`` (where it makes sense).
        mean_above: only for inputs whose mean is over this.
        flag: only while this file exists; a test makes and removes it.
        times_file: only as often as this file has bytes; each time takes one (dies twice, then works).
    """

    how: str
    at: str = "run"
    mean_above: float | None = None
    flag: str | None = None
    times_file: str | None = None

    def __post_init__(self) -> None:
        if self.how not in WAYS or self.at not in ("open", "run"):
            raise ValueError(f"no fake misbehaves as {self.how!r} at {self.at!r}; ways: {', '.join(WAYS)}")

    def applies(self, at: str, mean: float | None = None) -> bool:
        """Whether now is the time."""
        if at != self.at or (self.flag is not None and not Path(self.flag).exists()):
            return False
        if self.mean_above is not None and (mean is None or mean <= self.mean_above):
            return False
        if self.times_file is not None:
            rest = Path(self.times_file).read_bytes()
            Path(self.times_file).write_bytes(rest[1:])
            return bool(rest)
        return True


def write_fake_artifact(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    weights: Sequence[float] = (4.0, -4.0),
    bias: Sequence[float] = (-2.0, 2.0),
    softmax: bool = True,
    misbehave: Misbehaviour | None = None,
    stateful: bool = False,
) -> Path:
    """Write an artifact that answers, in each output, ``softmax(weights * mean(first input) + bias)``.

    ``weights`` and ``bias`` are repeated to the number of elements of the output. A ``stateful`` one is refused by
    every fake but those that remember.
    """
    content = {
        "format": FORMAT,
        "inputs": [[spec.dtype, list(spec.shape)] for spec in inputs],
        "outputs": [[spec.dtype, list(spec.shape)] for spec in outputs],
        "weights": list(weights),
        "bias": list(bias),
        "softmax": softmax,
        "misbehave": asdict(misbehave) if misbehave else None,
        "stateful": stateful,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def answer_of(artifact: Path, mean: float, output: TensorSpec) -> Array:
    """What the artifact answers to an input of this mean, when it does not misbehave."""
    return _answer(json.loads(artifact.read_text(encoding="utf-8")), mean, output)


def _answer(content: Mapping[str, Any], mean: float, output: TensorSpec) -> Array:
    shape = tuple(extent or 1 for extent in output.shape)
    count = int(np.prod(shape))
    logits = np.resize(np.array(content["weights"]), count) * mean + np.resize(np.array(content["bias"]), count)
    if content["softmax"]:
        logits = np.exp(logits - logits.max())
        logits = logits / logits.sum()
    return np.asarray(logits.reshape(shape).astype(output.dtype))


def backend(name: str, *, how: str | None = None, at: str = "run", devices: Sequence[Device] = DEVICES) -> BackendSpec:
    """A fake backend; ``how`` (of ``WAYS``) makes it misbehave with every artifact, not only with poisonous ones."""
    always = Misbehaviour(how=how, at=at) if how else None
    known = tuple(devices)
    return BackendSpec(
        name=name,
        artifact_format=FORMAT,
        probe=lambda: known,
        open=lambda request: _open(request, known, always),
        engine=lambda: "fake 1.0" if known else "",
        describe=lambda artifact: _describe(artifact, how),
        explain=lambda: "" if known else "this fake has no device",
        help=WAYS[how] if how else "answers from the mean of its input; works unless the artifact says otherwise",
    )


def _open(request: OpenRequest, devices: Sequence[Device], always: Misbehaviour | None) -> FakeSession:
    if request.device not in {device.name for device in devices}:
        raise BackendUnavailable(f"the fake has no device {request.device!r}")
    gullible = always is not None and always.how == "gullible"
    try:
        content = json.loads(request.artifact.read_text(encoding="utf-8"))
        declared = (content["inputs"], content["outputs"])
        _ = (content["weights"], content["bias"], content["softmax"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not gullible:
            raise ModelRejected(f"{request.artifact.name} is not a fake artifact: {error}") from error
        declared, content = ([], []), {"misbehave": None}
    for want, have in zip((request.inputs, request.outputs), declared, strict=True):
        if [[spec.dtype, list(spec.shape)] for spec in want] != have and not gullible:
            raise ModelRejected(f"{request.artifact.name} has tensors {have}, the manifest declares {want}")
    misbehave = always or (Misbehaviour(**content["misbehave"]) if content["misbehave"] else None)
    if content.get("stateful") and not (misbehave and misbehave.how.startswith("remembers")):
        raise ModelRejected(f"{request.artifact.name} keeps state between images", code="backend.stateful")
    if misbehave is not None and misbehave.applies("open"):
        _die(misbehave.how)
    return FakeSession(request, content, misbehave)


def _describe(artifact: Path, how: str | None) -> Described:
    try:
        content = json.loads(artifact.read_text(encoding="utf-8"))
        inputs, outputs = content["inputs"], content["outputs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelRejected(f"{artifact.name} is not a fake artifact: {error}") from error
    more = [1] if how == "misdescribes" else []

    def specs(kind: str, rows: Sequence[Any]) -> tuple[TensorSpec, ...]:
        numbered = enumerate(rows)
        return tuple(
            TensorSpec(name=f"{kind}_{n}", dtype=dtype, shape=(*shape, *more)) for n, (dtype, shape) in numbered
        )

    return Described(inputs=specs("input", inputs), outputs=specs("output", outputs))


_leaked: list[bytes] = []
_workers = ThreadPoolExecutor(4, thread_name_prefix="fake")


def _die(how: str) -> None:
    """The misbehaviours that do not need to know what was asked."""
    match how:
        case "abort":
            os.abort()
        case "exit":
            raise SystemExit(3)
        case "hang":
            while True:
                time.sleep(3600)
        case "hang-holding-the-gil":
            ctypes.PyDLL(None).sleep(3600)
        case "slow":
            time.sleep(0.2)
        case "leak":
            _leaked.append(os.urandom(1 << 20))
        case "many-threads":
            list(_workers.map(lambda _: hashlib.pbkdf2_hmac("sha256", b"busy", b"", 5000), range(4)))
        case "prints":
            ctypes.CDLL(None).puts(b"the fake was told to print")
        case "raise":
            raise ZeroDivisionError("the fake was told to")
        case "raise-base":
            raise OddError("the fake was told to")


class FakeSession:
    """An artifact of format ``fake``, open."""

    def __init__(self, request: OpenRequest, content: Mapping[str, Any], misbehave: Misbehaviour | None) -> None:
        self._request = request
        self._content = content
        self._misbehave = misbehave
        self._how = misbehave.how if misbehave else ""
        self._open = True
        self._shared: dict[str, Array] = {}
        self._before = self._between = 0.0
        self.device = request.device
        if self._how == "elsewhere":
            self.device = next(device.name for device in DEVICES if device.name != request.device)

    def run(self, inputs: Tensors) -> Tensors:
        """The answers; or whatever the misbehaviour is."""
        if not self._open and self._how != "open-again":
            raise SessionClosed("the fake session is closed")
        if self._how != "careless":
            check_tensors(self._request.inputs, inputs)
        first = next(iter(inputs.values()), np.zeros(1))
        mean = float(np.mean(first, dtype=np.float64))
        if self._how == "remembers":
            mean, self._before = mean + self._before / 4, mean
        if self._how == "remembers-between":
            self._between = mean
        if self._misbehave is None or not self._misbehave.applies("run", mean):
            return self._answers(mean)
        _die(self._how)
        return self._lies(mean)

    def _answers(self, mean: float) -> dict[str, Array]:
        return {spec.name: _answer(self._content, mean, spec) for spec in self._request.outputs}

    def _lies(self, mean: float) -> dict[str, Array]:
        if self._how == "gullible":
            shapes = {spec.name: tuple(extent or 1 for extent in spec.shape) for spec in self._request.outputs}
            return {spec.name: np.zeros(shapes[spec.name], spec.dtype) for spec in self._request.outputs}
        right = self._answers(mean)
        match self._how:
            case "wrong-shape":
                return {name: np.concatenate([a, a[..., :1]], axis=-1) for name, a in right.items()}
            case "wrong-dtype":
                return {name: a.astype(np.float64) for name, a in right.items()}
            case "wrong-names":
                return {f"{name}_0": a for name, a in right.items()}
            case "nan":
                return {name: np.full_like(a, np.nan) for name, a in right.items()}
            case "zeros":
                return {name: np.zeros_like(a) for name, a in right.items()}
            case "share":
                for name, array in right.items():
                    self._shared.setdefault(name, array)[...] = array
                return self._shared
        return right

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """One answer after the other."""
        if not self._open:
            raise SessionClosed("the fake session is closed")
        if self._how == "eager":
            inputs = [item for item, _ in zip(inputs, range(10_000), strict=False)]
        for number, item in enumerate(inputs):
            if self._how.startswith("remembers-"):
                yield self._remembered(item)
            elif self._how != "drop" or number % 2 == 0:
                yield self.run(item)

    def _remembered(self, inputs: Tensors) -> Tensors:
        """What a stream answers that keeps something of its own inputs, or of what was run between its answers."""
        kept = self._before if self._how == "remembers-in-streams" else self._between
        right = self.run(inputs)
        self._before, self._between = float(np.mean(next(iter(inputs.values())), dtype=np.float64)), 0.0
        return {name: array * np.asarray(1 + kept, array.dtype) for name, array in right.items()}

    def close(self) -> None:
        """Nothing to free."""
        self._open = False

"""What a plugin registers: frozen specs whose callables import their engine only when called.

Each *spec* says what it provides; each *request* carries what the host asks, as a dataclass so that
it can gain a field with a default in a later minor. The Protocols are what the hot path calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from edgeai.api.errors import BackendError
from edgeai.api.imaging import Frame
from edgeai.api.instances import InstanceRef
from edgeai.api.options import Options, OptionSpec
from edgeai.api.results import Findings
from edgeai.api.tensors import Array, Tensors, TensorSpec

if TYPE_CHECKING:
    from edgeai.api.guessing import Guess, GuessRequest
    from edgeai.api.judging import Judge

# --- backends ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Hardware as the engine names it (``CPU``, ``GPU.0``, ``NPU``)."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """Open one artifact on one device.

    Attributes:
        artifact: the file, or the folder where a format is a folder (SavedModel, OpenVINO IR's ``.xml``).
        device: one of the names that ``probe`` gave. Any other is ``BackendUnavailable``.
        inputs, outputs: the manifest's tensors, in order; the session uses these names whatever the
            engine calls its own.
        threads: engine threads, or 0 for the engine's own default. On a ``CPU`` the host may open the artifact again
            with another number while this session is open, to see which runs a single frame fastest.
        options: the artifact's own, signed; names out of ``BackendSpec.options``.
        settings: the device's plumbing; names out of ``BackendSpec.settings``.
        cache_dir: where compiled models may be kept between starts, or ``None`` for nowhere.
    """

    artifact: Path
    device: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    threads: int = 0
    options: Options = field(default_factory=dict)
    settings: Options = field(default_factory=dict)
    cache_dir: Path | None = None


@runtime_checkable
class Session(Protocol):
    """An artifact open on a device. One thread at a time may call it; any thread may.

    Where one backend can load several engines, a session also has ``engine: str``, the name and version of
    the one that it runs on, as ``BackendSpec.engine`` gives them; results carry that instead.
    """

    @property
    def device(self) -> str:
        """The device that was asked for; never another."""
        ...

    def run(self, inputs: Tensors) -> Tensors:
        """One inference. The caller owns the arrays that come back.

        Raises:
            TensorMismatch: the inputs are not those declared; the session stays usable.
            InferenceFailed: the engine failed; its own words in the message.
            SessionClosed: after ``close``.
        """
        ...

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Outputs in the order of the inputs, as many in flight as the engine likes. Raises as ``run``."""
        ...

    def close(self) -> None:
        """Free the engine's memory. Twice is fine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The tensors that an artifact itself names, in its own order; their layouts are empty, since no file says them.

    ``scales`` has, for tensors of whole numbers that stand for real ones, ``(scale, zero point)`` by name: the real
    value is ``scale * (whole - zero point)``. ``ranges`` has, for inputs that the model's first steps rescale, what
    black and white are to them; ``None`` where it rescales and nobody can say from what. ``activations`` has what
    gives an output its values last: ``softmax``, ``sigmoid``, ``none`` where nothing is applied to a sum, or another
    function's name; what is not seen is left out. ``notes`` are for whoever builds on it. ``parameters`` counts its
    weights' elements, ``operations`` the floating-point operations of one inference, two a multiply-accumulate;
    ``None`` where nobody counts them.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    scales: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    activations: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    parameters: int | None = None
    operations: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """How a model of a format lies on disk: by this the build host knows one that it is given, and copies it whole.

    Attributes:
        called: as a sentence calls it (``a .tflite file``).
        suffix: of the file that ``OpenRequest.artifact`` names (``.tflite``); empty where the format is a folder.
        beside: suffixes of the files of the same stem that belong to it (``.bin``); without them it is not whole.
        folder: names in a folder of this format; the first is what it is known by, what else is there is copied too.
        made_from: suffix of a file of another kind -> what to do to make one of this of it, with ``{name}`` and
            ``{stem}`` of that file in it (``acmec {name}, then edgeai pack {stem}.acme``).
    """

    called: str
    suffix: str = ""
    beside: tuple[str, ...] = ()
    folder: tuple[str, ...] = ()
    made_from: Mapping[str, str] = field(default_factory=dict)

    def parts(self, path: Path) -> tuple[Path, ...]:
        """The files and folders of a model of this format, ``path`` first; ``()`` where it is none, or not whole."""
        if self.folder:
            return tuple(path / name for name in self.folder if (path / name).exists()) if self._has_mark(path) else ()
        files = (path, *(path.with_suffix(suffix) for suffix in self.beside))
        return files if path.suffix == self.suffix and all(file.is_file() for file in files) else ()

    def _has_mark(self, path: Path) -> bool:
        return (path / self.folder[0]).is_file()


LAST_RANK: Final = 100
"""The rank of a backend that says none: behind all that say one, by name."""


def _nothing_to_explain() -> str:
    return ""


def _no_caution(artifact: Path, device: str) -> BackendError | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec:
    """An inference engine.

    Attributes:
        name: unique among all installed (``tflite``).
        artifact_format: what it opens, as the manifest names it (``tflite``, ``openvino``, ``savedmodel``).
        probe: devices of this machine, best first; ``()`` when none. Never raises, repeatable, cheap.
        open: ``OpenRequest`` -> ``Session``, or ``BackendUnavailable`` / ``ModelRejected``; never falls
            back to another device by itself.
        engine: name and version of the engine, e.g. ``ai-edge-litert 2.3.0``; empty when it is not installed.
        explain: why ``probe`` finds no (or not every) device, in the engine's own words; empty when all is well.
        describe: the tensors of an artifact that someone else made, or ``ModelRejected``; ``None`` where the engine
            cannot say. The build host packs foreign models with it.
        outline: what of that can be read without the engine, at once; ``None`` where it cannot, or ``ModelRejected``.
            What it says is checked by nobody before ``describe`` or ``open``.
        caution: (artifact, device) -> what makes its answers slower or less certain on this very machine, as an error
            that is returned and not raised, with a code; one without a remedy is told and warns of nothing. ``None``
            where there is nothing to say. ``edgeai doctor`` asks it of what it has opened.
        rank: its place where nobody says which engine: lower is tried first; what starts soonest and needs least
            should be low. Equal ones go by name.
        files: how a model of its format is recognised on disk; ``None``: the build host knows none by itself.
        install: the command that installs the engine where ``engine`` is empty (``pip install 'acme[npu]'``).
        libraries: distributions whose versions decide its numbers; reports and the record of a training name them.
    """

    name: str
    artifact_format: str
    probe: Callable[[], Sequence[Device]]
    open: Callable[[OpenRequest], Session]
    engine: Callable[[], str]
    explain: Callable[[], str] = _nothing_to_explain
    describe: Callable[[Path], Described] | None = None
    outline: Callable[[Path], Described | None] | None = None
    caution: Callable[[Path, str], BackendError | None] = _no_caution
    options: tuple[OptionSpec, ...] = ()
    settings: tuple[OptionSpec, ...] = ()
    help: str = ""
    rank: int = LAST_RANK
    files: ModelFiles | None = None
    install: str = ""
    libraries: tuple[str, ...] = ()


# --- transforms -------------------------------------------------------------------------------


class Transform(Protocol):
    """One preprocessing step: pure, thread-safe, and it carries the Geometry on."""

    def apply(self, frame: Frame) -> Frame:
        """A new frame; the one given is left as it was.

        Raises:
            TransformFailed: this frame cannot be transformed (and why).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformSpec:
    """A kind of step. ``build(options)`` raises ``TransformFailed`` for options that make no sense."""

    name: str
    build: Callable[[Options], Transform]
    options: tuple[OptionSpec, ...] = ()
    help: str = ""
    source: str = ""
    """Where the method is defined: a part and section of the Standard, or a paper."""


# --- tasks ------------------------------------------------------------------------------------

FRAME: Final = "frame"
UNITS: Final = (FRAME,)
"""What ``TaskSpec.unit`` may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameContext:
    """The frame as the model saw it (its ``geometry`` maps back), and the instance it came from."""

    frame: Frame
    instance: InstanceRef


class Task(Protocol):
    """What is asked of a model's outputs. Pure and thread-safe."""

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        """Findings of one frame (``frame_number`` set), in source-image coordinates.

        Raises:
            TaskFailed: outputs that say nothing (NaN, wrong size); never an empty tuple instead.
        """
        ...

    def summarise(self, frames: Sequence[Findings], instance: InstanceRef) -> Findings:
        """Findings of the whole instance from those of its frames, in frame order; what the result carries."""
        ...


@runtime_checkable
class MaskTask(Task, Protocol):
    """A task whose findings come from masks. The build host scores the same masks that the findings state."""

    def masks(self, outputs: Tensors, context: FrameContext) -> Mapping[str, Array]:
        """Label -> bool array, rows x columns of the source image, for every label. Raises as ``interpret``."""
        ...


@runtime_checkable
class ComparingTask(Task, Protocol):
    """A task that says itself when two models agree on an image (since 1.3).

    Of any other they agree where they state the same (``present``) of the same labels in the same frames.
    """

    def difference(self, before: Findings, now: Findings) -> str:
        """How two models' findings on one image differ, in a few words without patient data; empty: they agree."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """The answers that exclude one another, of which a task states one (since 1.4).

    Attributes:
        strangeness: each answer, and how strange it would be: from 0, finite; the less, the likelier.
        stated: the one that the findings state, or empty.
    """

    strangeness: Mapping[str, float]
    stated: str = ""


@runtime_checkable
class AbstainingTask(Task, Protocol):
    """A task of whose statements a bundle may be told to make none, where more than one or none is left at a risk.

    Since 1.4. How strange an answer is must depend on the findings alone, and be the same on build host and device.
    """

    def alternatives(self, findings: Findings) -> Alternatives:
        """What else could have been answered of one frame, whose findings ``interpret`` gave.

        Also of the instance: then these are the findings of ``summarise`` that name no frame.

        Raises:
            TaskFailed: ``task.options``, whatever the findings are: its answers do not exclude one another.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """Build a task from the manifest's options and output tensors."""

    options: Options
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A kind of question.

    Attributes:
        build: raises ``TaskFailed`` for options that make no sense.
        unit: what one answer is about: ``frame``; later minors add others.
        judge: the same request -> what the build host asks (see ``edgeai.api.judging``); raises as ``build``. Without
            one, models of the task are packed and run, and are neither trained, evaluated nor gated.
        guess: how a model of which no card speaks is read (since 1.3): the options that go with its output;
            ``TaskMisfit`` where it is another task's; ``TaskFailed`` (``task.guess``) where its user has to say more.
            Without it, models of the task need a card from the first try on.
    """

    name: str
    build: Callable[[TaskRequest], Task]
    options: tuple[OptionSpec, ...] = ()
    help: str = ""
    unit: str = FRAME
    judge: Callable[[TaskRequest], Judge] | None = None
    guess: Callable[[GuessRequest], Guess] | None = None


# --- sources ----------------------------------------------------------------------------------


class Source(Protocol):
    """Live frames: a frame grabber or a vendor's SDK."""

    def frames(self) -> Iterator[Frame]:
        """Frames as they come, until ``close``; the newest wins and drops are the host's to count."""
        ...

    def close(self) -> None:
        """Ends ``frames``. Twice is fine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """Open a source with the configuration's table for it."""

    settings: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """A kind of live source."""

    name: str
    open: Callable[[SourceRequest], Source]
    settings: tuple[OptionSpec, ...] = ()
    help: str = ""

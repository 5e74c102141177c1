"""Which installed task reads an output of which no card speaks, and how: each says it itself (``TaskSpec.guess``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from edgeai.api import (
    Array,
    EdgeaiError,
    Guess,
    GuessRequest,
    Judge,
    PluginError,
    TaskFailed,
    TaskMisfit,
    TaskRequest,
    TaskSpec,
    TensorSpec,
)
from edgeai.hosting import PluginInfo
from edgeai.resolving import Installed, did_you_mean
from edgeai_workbench.guessing import Refusal, shown, words_of

_MODE: Final = "mode"
"""The option of a task of which ``--mode`` is one of the choices."""
_WRITE: Final = "write a card for it: docs/reference/card.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the user of a model says of its answers: a word for a task, a mode of it, a file of labels, or nothing."""

    task: str = ""
    mode: str = ""
    labels: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An output, and what is known of it beside what its user says; as ``GuessRequest`` has it."""

    output: TensorSpec
    activation: str = ""
    scale: tuple[float, int] | None = None
    several: bool = False
    answers: Sequence[Array] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A task that reads the output, and how.

    Attributes:
        spec: the task.
        plugin: that provides it.
        guess: what it says.
        notes: what was done to the labels, and which tasks could not be asked.
    """

    spec: TaskSpec
    plugin: PluginInfo
    guess: Guess
    notes: tuple[str, ...] = ()

    def judge(self, outputs: tuple[TensorSpec, ...]) -> Judge | None:
        """The task's judge with these options; ``None`` where it brings none."""
        request = TaskRequest(options=self.guess.options, outputs=outputs)
        return None if self.spec.judge is None else self.spec.judge(request)


def tasks_told(told: Told, refused: Refusal) -> list[tuple[TaskSpec, PluginInfo]]:
    """The tasks that come into question: the one that is named, or all that say how they read a model.

    Raises:
        ConfigError: the one that is named is not there, or does not say it; nobody has that mode.
    """
    installed = Installed()
    if told.task:
        try:
            named = [installed.resolve("task", told.task)]
        except PluginError as error:
            raise refused(f"--task {told.task}: {error}", error.remedy or _WRITE) from error
    else:
        named = installed.specs("task")  # two of one name are told apart once they both fit
    tasks = [(spec, info) for spec, info in named if isinstance(spec, TaskSpec) and spec.guess is not None]
    if not tasks:
        task = f"task {named[0][0].name}" if told.task else "no installed task"
        raise refused(f"{task} says {'not ' * bool(told.task)}how it reads a model that no card describes", _WRITE)
    return _of_mode(tasks, told, refused)


def _of_mode(
    tasks: list[tuple[TaskSpec, PluginInfo]], told: Told, refused: Refusal
) -> list[tuple[TaskSpec, PluginInfo]]:
    if not told.mode:
        return tasks
    modes = {spec.name: _modes(spec) for spec, _ in tasks}
    if having := [(spec, info) for spec, info in tasks if told.mode in modes[spec.name]]:
        return having
    known = list(dict.fromkeys(mode for each in modes.values() for mode in each))
    whose = f"task {tasks[0][0].name} has" if told.task else "there is"
    why = f"--mode {told.mode}: {whose} no such mode{did_you_mean(told.mode, known)}"
    raise refused(why, f"one of {', '.join(known)}" if known else "leave --mode out")


def _modes(spec: TaskSpec) -> tuple[Any, ...]:
    return next((tuple(option.choices or ()) for option in spec.options if option.name == _MODE), ())


def reading_of(asked: Asked, told: Told, refused: Refusal) -> Reading:
    """The one task that reads this output, and how.

    Raises:
        ConfigError: none does, or several do, and which is meant has to be said; or whoever does needs to be told more.
        PluginError: the task that is named breaks its contract.
    """
    tasks, trial = tasks_told(told, refused), _Trial(asked, told, refused)
    for spec, plugin in tasks:
        trial.ask(spec, plugin)
    names = list(dict.fromkeys(spec.name for spec, _, _ in trial.fitting))
    shape = shown(asked.output.shape[1:])
    if len(names) > 1:
        raise refused(
            f"output {asked.output.name} ({shape}) can be read by {' and by '.join(names)}",
            f"say which is meant: {', or '.join(f'--task {name}' for name in names)}",
        )
    if not names:
        if trial.broken and not trial.misfits:
            raise trial.broken[0]
        raise trial.none_fits(shape)
    if len(trial.fitting) > 1:
        Installed().resolve("task", names[0])  # two that provide one name: it says who
    spec, plugin, what = trial.fitting[0]
    if isinstance(what, EdgeaiError):
        raise refused(str(what), what.remedy or _WRITE) if isinstance(what, TaskFailed) else what
    untold = tuple(f"a task was not asked: {error}" for error in trial.broken)
    return Reading(spec=spec, plugin=plugin, guess=what, notes=(*trial.notes[spec.name], *untold))


def settled(reading: Reading, asked: Asked, told: Told, refused: Refusal) -> Reading:
    """The same task's reading, once the model's answers are there.

    Raises:
        ConfigError: they do not show it either, and it has to be said.
    """
    if reading.guess.settled:
        return reading
    trial = _Trial(asked, told, refused)
    trial.ask(reading.spec, reading.plugin)
    what = trial.fitting[0][2] if trial.fitting else trial.misfits[0][1]
    if isinstance(what, EdgeaiError):
        raise refused(str(what), what.remedy or _WRITE) if isinstance(what, TaskFailed) else what
    return replace(reading, guess=what)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Tasks that were asked how they read an output: those that do, those that do not, those that broke."""

    asked: Asked
    told: Told
    refused: Refusal
    fitting: list[tuple[TaskSpec, PluginInfo, Guess | EdgeaiError]] = field(default_factory=list)
    misfits: list[tuple[TaskSpec, TaskMisfit]] = field(default_factory=list)
    broken: list[PluginError] = field(default_factory=list)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def ask(self, spec: TaskSpec, plugin: PluginInfo) -> None:
        """Ask one; what it refuses for another reason than the kind of output is still its own to say."""
        assert spec.guess is not None
        wanted: list[int] = []
        notes: list[str] = []

        def labels(count: int) -> tuple[str, ...]:
            wanted.append(count)
            words, made = words_of(self.told.labels, count, self.asked.output.name, self.refused)
            notes[:] = made
            return tuple(words)

        try:
            guess = spec.guess(self._request(labels))
            if self.told.labels is not None and not wanted:
                raise self.refused(f"--labels: task {spec.name} takes none", "leave --labels out")
            self.fitting.append((spec, plugin, guess))
        except TaskMisfit as error:
            self.misfits.append((spec, error))
        except PluginError as error:
            self.broken.append(error)
        except EdgeaiError as error:
            self.fitting.append((spec, plugin, error))
        self.notes[spec.name] = tuple(notes)

    def none_fits(self, shape: str) -> EdgeaiError:
        """The error where no task reads the output; it names those that would, if the user named another."""
        why = "; ".join(str(error) for _, error in self.misfits) or f"nobody reads output {self.asked.output.name}"
        if not self.told.task:
            return self.refused(f"{why} (output {self.asked.output.name} is {shape})", _WRITE)
        others = _Trial(self.asked, Told(labels=self.told.labels), self.refused)
        for spec, plugin in tasks_told(others.told, self.refused):
            others.ask(spec, plugin)
        names = dict.fromkeys(spec.name for spec, _, _ in others.fitting)
        return self.refused(why, ", or ".join(f"--task {name}" for name in names) or _WRITE)

    def _request(self, labels: Any) -> GuessRequest:
        asked = self.asked
        return GuessRequest(
            output=asked.output,
            labels=labels,
            labelled=self.told.labels is not None,
            mode=self.told.mode,
            activation=asked.activation,
            scale=asked.scale,
            several=asked.several,
            answers=asked.answers,
        )

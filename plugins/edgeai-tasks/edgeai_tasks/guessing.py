"""How a first try reads answers that become probabilities: of a frame, or of each place of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from edgeai.api import Guess, GuessRequest, TaskFailed, TaskMisfit

EXCLUSIVE: Final = "multi-class"
ANY: Final = "multi-label"
_SIGMOIDS: Final = ("sigmoid", "hard_sigmoid")
_KNOWN: Final = ("softmax", *_SIGMOIDS, "none")
_SUM: Final = 0.03
_EXACT: Final = 1e-4
"""As far as the sum of a softmax in float32 is from 1."""
_OVER: Final = 0.005
"""As far as probabilities may be from the sum of 1 and from the unit: what the tasks allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An output of ``width`` answers, for a frame or for each place; one answer alone is of the mode ``single``."""

    request: GuessRequest
    width: int
    single: str
    places: bool = False

    def chosen(self) -> tuple[str, str, bool]:
        """(mode, activation, whether the model's answers have no more to show).

        Raises:
            TaskMisfit: what is applied last gives neither probabilities nor sums that become some: a regression's.
            TaskFailed: ``task.guess``: a mode that does not go with the output, or one that has to be asked for.
        """
        last = self.request.activation
        if last and last not in _KNOWN:
            raise TaskMisfit(
                f"output {self.request.output.name} ends in {last}, which gives neither probabilities (softmax, "
                "sigmoid) nor logits (linear)"
            )
        self._check_mode()
        if last:
            return (*self._by_activation("sigmoid" if last in _SIGMOIDS else last), True)
        if self.request.answers:
            return (*self._by_answers(), True)
        return self.request.mode or self._default(), "none", False

    def guess(self, mode: str, activation: str, *, settled: bool, options: dict[str, object]) -> Guess:
        """What is said of it, with these options and the name of the output where there are others."""
        applied = "they are probabilities" if activation == "none" else f"a {activation} is applied to them"
        named = {"output": self.request.output.name} if self.request.several else {}
        says = f"output {self.request.output.name}: {mode}, {applied}"
        return Guess(options={**options, **named}, says=says, settled=settled)

    def _by_activation(self, last: str) -> tuple[str, str]:
        name, mode, several = self.request.output.name, self.request.mode, self.width > 1
        if several and last == "softmax" and mode == ANY:
            raise self._exclusive("a softmax")
        if several and last == "sigmoid":
            if mode == EXCLUSIVE or not (mode or self.places):
                raise asked(
                    f"output {name} gives {self.width} sigmoids, which do not sum to 1: is it multi-label?",
                    "--mode multi-label where several labels may apply at once; else end the model in a softmax",
                )
            return ANY, "none"
        if several and self.places and last == "none" and not mode:
            raise asked(
                f"output {name} gives {self.width} numbers a place, and nothing says whether these exclude one another",
                "--mode multi-class where a place has exactly one label, --mode multi-label where it may have several",
            )
        chosen = mode or self._default()
        applied = "softmax" if chosen == EXCLUSIVE else "sigmoid"
        return chosen, applied if last == "none" else "none"

    def _by_answers(self) -> tuple[str, str]:
        """Several that exclude one another sum to 1, or are made to by a softmax."""
        rows = [np.asarray(each, np.float64).reshape(-1, self.width) for each in self.request.answers]
        values = np.concatenate(rows)
        unit = bool(((values >= -_OVER) & (values <= 1 + _OVER)).all())
        whole = unit and bool((np.abs(values.sum(axis=1) - 1) <= _SUM).all())
        if self.width > 1 and unit and not whole and not self.request.mode:
            raise asked(
                f"output {self.request.output.name} gives {self.width} answers that do not sum to 1, so they are no "
                "softmax: is it multi-label?",
                "--mode multi-label where several labels may apply at once; --mode multi-class where exactly one does",
            )
        if self.width > 1 and self.request.mode == ANY and unit and (np.abs(values.sum(axis=1) - 1) <= _EXACT).all():
            raise self._exclusive("answers that always sum to 1")
        chosen = self.request.mode or self._default(exclusive=whole or not unit)
        if chosen == EXCLUSIVE:
            return chosen, "none" if whole else "softmax"
        return chosen, "none" if unit else "sigmoid"

    def _exclusive(self, what: str) -> TaskFailed:
        return asked(
            f"--mode {ANY}: output {self.request.output.name} gives {what}, so that its {self.width} labels exclude "
            "one another",
            f"leave --mode out: it is {EXCLUSIVE}; or end the model in sigmoids",
        )

    def _default(self, *, exclusive: bool = True) -> str:
        if self.width == 1:
            return self.single
        return EXCLUSIVE if exclusive else ANY

    def _check_mode(self) -> None:
        mode, name = self.request.mode, self.request.output.name
        if mode == EXCLUSIVE and self.width == 1:
            raise asked(f"--mode {mode}: output {name} gives one answer", f"leave --mode out: it is {self.single}")
        if mode not in ("", EXCLUSIVE, ANY) and (self.width > 1 or mode != self.single):
            gives = f"output {name} gives {self.width} answer{'s' * (self.width > 1)}"
            raise asked(f"--mode {mode}: {gives}", "--mode multi-class, or --mode multi-label")


def asked(why: str, remedy: str) -> TaskFailed:
    """The error where the user has to say more, or otherwise."""
    return TaskFailed(why, code="task.guess", remedy=remedy)


def shown(shape: tuple[int | None, ...]) -> str:
    """An output's extents behind the batch."""
    return " x ".join(str(extent or "any") for extent in shape[1:]) or "a number"


def is_map(shape: tuple[int | None, ...]) -> bool:
    """Whether an output speaks of places: it has extents before its last that are more than one."""
    return len(shape) >= 3 and any(extent != 1 for extent in shape[1:-1])


def width_of(name: str, shape: tuple[int | None, ...]) -> int:
    """The last extent. Raises ``TaskFailed`` where it is open."""
    if not shape or shape[-1] is None:
        raise asked(f"output {name} is {shown(shape)}: how many answers it gives is open", "fix its last extent")
    return int(shape[-1])

"""How a task reads a model of which no card speaks yet: what a first try asks of it (since 1.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeai.api.tensors import Array, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessRequest:
    """What is known of the output that is to be read.

    Attributes:
        output: for a batch of one; an extent that is open is ``None``.
        labels: so many -> that many labels, each its own word: the user's own, in the order of their file, or numbered
            ones. Raises ``ConfigError``, to be passed on: the user has more or fewer.
        labelled: whether the user brings labels. Whoever is given some and asks for none is taken to have no use for
            them, and they are refused.
        mode: what the user chose with ``--mode``, of the ``choices`` of the task's option ``mode``; empty: nothing.
        activation: what gives the output its values last, as ``Described.activations`` has it; empty: nobody knows.
        scale: ``(scale, zero point)`` of an output of whole numbers; ``scale * (whole - zero point)`` is meant.
        several: whether the model has other outputs, so that a card has to say which one is read.
        answers: some of its values, as real numbers, once the model was asked; before that there are none.
    """

    output: TensorSpec
    labels: Callable[[int], tuple[str, ...]]
    labelled: bool = False
    mode: str = ""
    activation: str = ""
    scale: tuple[float, int] | None = None
    several: bool = False
    answers: Sequence[Array] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """How the task reads it.

    Attributes:
        options: the task's, as a card has them.
        says: what was seen and assumed, for the user and the card: one sentence.
        settled: ``False`` where the model's answers have to show some of it: then the task is asked again, with
            ``GuessRequest.answers``. What the options say of labels stays.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""
    settled: bool = True

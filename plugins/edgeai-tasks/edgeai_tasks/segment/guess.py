"""How a first try reads a segmentation: a map of answers, for each place of a frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from edgeai.api import Array, Guess, GuessRequest, TaskMisfit, TensorSpec
from edgeai_tasks.guessing import ANY, EXCLUSIVE, Reading, is_map, shown, width_of

_MOST_AXES: Final = 4


def guessed(request: GuessRequest) -> Guess:
    """The options of segment that go with an output: labels, how they go together, what makes probabilities of it.

    Raises:
        TaskMisfit: it is no map.
        TaskFailed: ``task.guess``.
        ConfigError: more or fewer labels than channels.
    """
    name, shape = request.output.name, tuple(request.output.shape)
    if not is_map(shape):
        raise TaskMisfit(f"output {name} is {shown(shape)}, no map: segment takes rows x columns")
    if len(shape) > _MOST_AXES:
        raise TaskMisfit(f"output {name} is {shown(shape)}: segment takes rows x columns, and channels at most")
    width = _channels(request.output)
    last = [_channels_last(np.asarray(each), request.output.layout) for each in request.answers]
    reading = Reading(request=replace(request, answers=last), width=width, single=ANY, places=True)
    mode, activation, settled = reading.chosen()
    options: dict[str, object] = {"labels": list(request.labels(width)), "activation": activation}
    if mode == EXCLUSIVE:
        options["mode"] = mode
    return reading.guess(mode, activation, settled=settled, options=options)


def _channels(output: TensorSpec) -> int:
    """How many there are for each place: of the axis that the layout calls C, else of the fourth."""
    shape = tuple(output.shape)
    if "C" in output.layout:
        place = output.layout.index("C")
        shape = (*shape[:place], *shape[place + 1 :], shape[place])
    elif len(shape) < _MOST_AXES:
        return 1
    return width_of(output.name, shape)


def _channels_last(answer: Array, layout: str) -> Array:
    return np.moveaxis(answer, layout.index("C"), -1) if "C" in layout else answer

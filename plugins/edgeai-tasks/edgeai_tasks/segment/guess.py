"""How a first try reads a segmentation: a map of answers, for each place of a frame."""

from __future__ import annotations

from typing import Final

from edgeai.api import Guess, GuessRequest, TaskMisfit
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
    width = width_of(name, shape) if len(shape) > 3 else 1
    reading = Reading(request=request, width=width, single=ANY, places=True)
    mode, activation, settled = reading.chosen()
    options: dict[str, object] = {"labels": list(request.labels(width)), "activation": activation}
    if mode == EXCLUSIVE:
        options["mode"] = mode
    return reading.guess(mode, activation, settled=settled, options=options)

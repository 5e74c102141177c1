"""How a first try reads a classifier: a row of answers, for a frame."""

from __future__ import annotations

from edgeai.api import Guess, GuessRequest, TaskMisfit
from edgeai_tasks.guessing import Reading, is_map, shown, width_of


def guessed(request: GuessRequest) -> Guess:
    """The options of classify that go with an output: labels, how they go together, what makes probabilities of it.

    Raises:
        TaskMisfit: it is a map.
        TaskFailed: ``task.guess``.
        ConfigError: more or fewer labels than answers.
    """
    name, shape = request.output.name, tuple(request.output.shape)
    if is_map(shape):
        raise TaskMisfit(f"output {name} is {shown(shape)}, a map: classify takes one row")
    reading = Reading(request=request, width=width_of(name, shape), single="binary")
    mode, activation, settled = reading.chosen()
    words = request.labels(2 if mode == "binary" else reading.width)
    options: dict[str, object] = {"labels": list(words), "activation": activation, "mode": mode}
    if request.scale is not None:
        options["dequantise"] = list(request.scale)
    return reading.guess(mode, activation, settled=settled, options=options)

"""What in a SavedModel outlives a run: variables that a signature assigns, tables it fills, random numbers it draws.

TensorFlow marks operations that are more than a function of their inputs as stateful; the few of them that change
nothing are named (``operations.READS``). Of the others a signature may have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edgeai.api import ModelRejected
from edgeai_gpu.graph import Node
from edgeai_gpu.operations import OF_ONE_RUN, REACHING, READS

_RANDOM: Final = ("Random", "Stateful", "Rng", "TruncatedNormal", "ParameterizedTruncatedNormal", "Multinomial")
_RANDOM_TOO: Final = frozenset({"NonDeterministicInts", "SampleDistortedBoundingBox", "SampleDistortedBoundingBoxV2"})
_SAMPLER: Final = "CandidateSampler"


def refuse_state(artifact: Path, serving: Iterable[Node]) -> None:
    """Look at all that a signature of the SavedModel runs.

    Args:
        artifact: for the message.
        serving: the operations.

    Raises:
        ModelRejected: ``backend.random``, ``backend.stateful``.
    """
    kept = sorted({node.kind for node in serving if is_kept(node.kind)})
    random = [kind for kind in kept if _is_random(kind)]
    if random:
        raise ModelRejected(
            f"{artifact.name} draws random numbers ({', '.join(random)}): the same image would give another answer "
            "each time",
            code="backend.random",
            remedy="export it as it is for inference: training=False, without sampling",
        )
    if kept:
        raise ModelRejected(
            f"{artifact.name} keeps state from one image to the next ({', '.join(kept)}), and nothing resets it",
            code="backend.stateful",
            remedy="export it without: stateful=False, training=False, and no variable assigned in the signature",
        )


def is_kept(kind: str) -> bool:
    """Whether an operation of this kind changes something that outlives a run, or draws a random number."""
    from tensorflow.python.framework import op_def_registry  # TensorFlow offers its list of operations nowhere else

    definition = op_def_registry.get(kind)
    if definition is None or kind in READS or kind.startswith(OF_ONE_RUN):
        return False
    if any(argument.is_ref for argument in definition.input_arg):  # TensorFlow 1's variables
        return not kind.startswith("Ref")
    return bool(definition.is_stateful) and not any(word in kind for word in REACHING)


def _is_random(kind: str) -> bool:
    return kind.startswith(_RANDOM) or kind in _RANDOM_TOO or kind.endswith(_SAMPLER)

"""What a traced Keras model would keep from one run to the next: state of its layers, and random numbers."""

from __future__ import annotations

from typing import Any, Final

from edgeai.api import ModelRejected

_HARMLESS: Final = frozenset(
    {
        *("Assert", "CheckNumerics", "CheckNumericsV2", "Print", "PrintV2"),
        *("Case", "If", "StatefulPartitionedCall", "While"),
        *("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "XlaCallModule", "IsTensorFloat32Enabled"),
        *("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarHandleOp", "VariableShape"),
        *("HashTableV2", "LookupTableFindV2", "LookupTableSizeV2", "MutableHashTableV2", "StatelessRandomGetAlg"),
    }
)
"""Operations that TensorFlow marks as stateful, and that change nothing."""
_OF_ONE_RUN: Final = "TensorArray"
_RANDOM: Final = ("Random", "StatefulUniform", "StatefulStandardNormal", "StatelessRandom", "Rng", "TruncatedNormal")


def refuse_state(name: str, function: Any) -> None:
    """Look at all operations of a traced function.

    A seeded layer of Keras counts its draws in a variable, so that random numbers too show as an assignment.

    Raises:
        ModelRejected: ``backend.random``, ``backend.stateful``.
    """
    from tensorflow.python.framework import op_def_registry  # TensorFlow offers its list of operations nowhere else

    graph = function.get_concrete_function().graph.as_graph_def()
    kinds = {str(node.op) for node in graph.node}
    kinds |= {str(node.op) for each in graph.library.function for node in each.node_def}
    definitions = {kind: op_def_registry.get(kind) for kind in kinds}
    stateful = {kind for kind, known in definitions.items() if known is not None and known.is_stateful}
    kept = sorted(kind for kind in stateful - _HARMLESS if not kind.startswith(_OF_ONE_RUN))
    if not kept:
        return
    random = sorted(kind for kind in kinds - _HARMLESS if kind.startswith(_RANDOM))
    if random:
        raise ModelRejected(
            f"{name} draws random numbers ({', '.join(random)}): the same image would give another answer each time",
            code="backend.random",
            remedy="build it without training=True in the calls of its layers, and without layers that sample",
        )
    raise ModelRejected(
        f"{name} keeps state from one image to the next ({', '.join(kept)})",
        code="backend.stateful",
        remedy="build its layers with stateful=False, and without training=True in their calls",
    )

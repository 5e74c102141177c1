"""What in a SavedModel outlives a run: variables that a signature assigns, tables it fills, random numbers it draws.

TensorFlow marks operations that are more than a function of their inputs as stateful; the few of them that change
nothing are named here, and any other is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from edgeai.api import ModelRejected

_HARMLESS: Final = frozenset(
    {
        *("Assert", "CheckNumerics", "CheckNumericsV2", "Print", "PrintV2"),
        *("Case", "If", "StatefulPartitionedCall", "While"),
        *("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "XlaCallModule", "XlaIf", "XlaLaunch", "XlaWhile"),
        *(
            "DeepCopy",
            "DeviceIndex",
            "DisableCopyOnRead",
            "GraphDefVersion",
            "GuaranteeConst",
            "IsTensorFloat32Enabled",
        ),
        *("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarHandleOp", "VarIsInitializedOp"),
        *("Variable", "VariableShape", "VariableV2", "StatelessRandomGetAlg"),
        *("AnonymousHashTable", "HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2"),
        *("LookupTableExportV2", "LookupTableFindV2", "LookupTableSizeV2"),
    }
)
"""They read, check, print, branch or call."""
_OF_ONE_RUN: Final = ("TensorArray",)
_RANDOM: Final = ("Random", "Stateful", "Rng", "TruncatedNormal", "ParameterizedTruncatedNormal", "Multinomial")
_RANDOM_TOO: Final = frozenset({"NonDeterministicInts", "SampleDistortedBoundingBox", "SampleDistortedBoundingBoxV2"})
_SAMPLER: Final = "CandidateSampler"


def refuse_state(artifact: Path, parsed: Any, signature: str) -> None:
    """Look at all that a signature of the SavedModel runs.

    Args:
        artifact: for the message.
        parsed: the ``SavedModel`` protocol buffer.
        signature: the signature that is to run; one that is not there has nothing to refuse.

    Raises:
        ModelRejected: ``backend.random``, ``backend.stateful``.
    """
    kept = sorted({kind for meta in parsed.meta_graphs for kind in _run_by(meta, signature) if _is_kept(kind)})
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


def _is_kept(kind: str) -> bool:
    from tensorflow.python.framework import op_def_registry  # TensorFlow offers its list of operations nowhere else

    definition = op_def_registry.get(kind)
    if definition is None:  # a function of the graph, or what the loader refuses
        return False
    if any(argument.is_ref for argument in definition.input_arg):  # TensorFlow 1's variables
        return not kind.startswith("Ref")
    return bool(definition.is_stateful) and kind not in _HARMLESS and not kind.startswith(_OF_ONE_RUN)


def _is_random(kind: str) -> bool:
    return kind.startswith(_RANDOM) or kind in _RANDOM_TOO or kind.endswith(_SAMPLER)


def _run_by(meta: Any, signature: str) -> Iterator[str]:
    """The kinds of all operations that a signature runs: those that its outputs need, and what they call."""
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    called: set[str] = set()
    waiting = _needed(meta.graph_def, _outputs(meta, signature))
    while waiting:
        more: list[Any] = []
        for node in waiting:
            yield str(node.op)
            for name in {str(node.op), *_named(node)} - called:
                if name in functions:
                    called.add(name)
                    more += functions[name].node_def
        waiting = more


def _outputs(meta: Any, signature: str) -> list[str]:
    if signature not in meta.signature_def:
        return []
    return [info.name for info in meta.signature_def[signature].outputs.values()]


def _needed(graph: Any, outputs: Iterable[str]) -> list[Any]:
    """The nodes that these tensors are computed from; control inputs are inputs."""
    nodes = {str(node.name): node for node in graph.node}
    names = [_node_of(name) for name in outputs]
    found: dict[str, Any] = {}
    while names:
        name = names.pop()
        if name in nodes and name not in found:
            found[name] = nodes[name]
            names += [_node_of(one) for one in nodes[name].input]
    return list(found.values())


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _named(node: Any) -> Iterator[str]:
    """The functions that a node names."""
    for value in node.attr.values():
        yield str(value.func.name)
        yield from (str(one.name) for one in value.list.func)

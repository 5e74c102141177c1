"""Whether a SavedModel may be loaded: whatever it runs, now or when it is loaded, is on a list of what may be run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from edgeai.api import ModelRejected
from edgeai_gpu import graph
from edgeai_gpu.graph import Node, Reached
from edgeai_gpu.operations import ALLOWED, INITIALISES, NOWHERE, OF_ONE_RUN, RESTORES, SAVES
from edgeai_gpu.state import is_kept, refuse_state

_STREAMS: Final = ("stderr", "stdout", "log(info)", "log(warning)", "log(error)")
_CALLS_OUT: Final = b"custom_call"
"""How a module of StableHLO names a call of something outside; its strings are not compressed."""
_MOST_NAMED: Final = 8


def read_safe(artifact: Path, signature: str) -> Any:
    """The ``SavedModel`` protocol buffer of a folder, once it is sure that loading and serving it does nothing else.

    Args:
        artifact: the folder.
        signature: the signature that is to run; one that is not there has nothing to refuse.

    Raises:
        ModelRejected: ``backend.artifact-missing``, ``backend.artifact-damaged``; ``backend.artifact-unsafe``: an
            operation that is not on the list; ``backend.random``, ``backend.stateful``: what it serves draws random
            numbers, or keeps something.
    """
    parsed = graph.read(artifact)
    graphs = [graph.reached(meta, signature) for meta in parsed.meta_graphs]
    unsafe = sorted({why for one in graphs for why in _unsafe(one)})
    if unsafe:
        more = f" and {len(unsafe) - _MOST_NAMED} more" if len(unsafe) > _MOST_NAMED else ""
        raise ModelRejected(
            f"{artifact.name} holds operations that may reach outside the model: "
            f"{'; '.join(unsafe[:_MOST_NAMED])}{more}",
            code="backend.artifact-unsafe",
            remedy="export the model without them: only what it computes, with its tables in the graph and no files",
        )
    refuse_state(artifact, (node for one in graphs for node in one.serving))
    return parsed


def _unsafe(one: Reached) -> Iterator[str]:
    """A few words for each operation that may not be where it is."""
    loading = ALLOWED | INITIALISES
    saver = {node.place for node in (*one.restoring, *one.saving)}
    for node in one.every:
        if node.kind in NOWHERE:
            yield node.kind
        elif node.kind in RESTORES | SAVES and node.place not in saver:
            yield f"{node.kind} outside the saver"
        elif why := _reaches_out(node.definition):
            yield why
    # What a signature keeps or draws has codes of its own.
    yield from _others(one, (node for node in one.serving if not is_kept(node.kind)), ALLOWED, "in the signature")
    yield from _others(one, one.loading, loading, "run when the model is loaded")
    yield from _others(one, one.restoring, loading | RESTORES | {"ShardedFilename"}, "run when the model is loaded")


def _others(one: Reached, nodes: Iterable[Node], allowed: frozenset[str], where: str) -> Iterator[str]:
    for node in nodes:
        kind = node.kind
        known = kind in allowed or kind in one.functions or kind.startswith(OF_ONE_RUN)
        if not known and kind not in NOWHERE:
            yield f"{kind} {where}"


def _reaches_out(node: Any) -> str:
    """What of an allowed operation is in its attributes."""
    if node.op == "PrintV2":
        stream = node.attr["output_stream"].s.decode("utf-8", "replace") or "stderr"
        return "" if stream in _STREAMS else f"PrintV2 to {stream[:80]!r}"
    if node.op == "XlaCallModule" and _CALLS_OUT in node.attr["module"].s:
        return "XlaCallModule with a custom call"
    return ""

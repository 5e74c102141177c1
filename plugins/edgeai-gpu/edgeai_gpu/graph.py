"""A SavedModel read as data: what its signature runs, and what is run by merely loading it.

Nothing of it is executed. TensorFlow has two loaders: of a model with a graph of objects (TensorFlow 2) it runs the
functions that create, fill and restore its resources, and serves the functions under ``signatures``; of one without
(TensorFlow 1) it runs the restore operation of the saver and the init operation, and serves what the signature's
outputs need. Both are followed here, whichever a model says it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeai.api import ModelRejected

INIT_SIGNATURE: Final = "__saved_model_init_op"
_INIT_COLLECTIONS: Final = ("saved_model_main_op", "legacy_init_op", "table_initializer")
_LOCAL_VARIABLES: Final = "local_variables"
_INIT_CHILDREN: Final = ("_initialize", "_create_resource", "_destroy_resource", "_initializer")


@dataclass(frozen=True, slots=True)
class Node:
    """An operation, and the function that it stands in (empty: the graph itself)."""

    function: str
    definition: Any

    @property
    def kind(self) -> str:
        """The operation's name, or that of a function that it calls."""
        return str(self.definition.op)

    @property
    def place(self) -> tuple[str, str]:
        """Where it stands; unique in a graph."""
        return self.function, str(self.definition.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The operations of one graph, by who runs them; a call of a function is followed into it.

    Attributes:
        every: all of them, whether or not anybody does.
        serving: what the signature runs.
        loading: what fills resources when the model is loaded.
        restoring: what reads the checkpoint into variables then.
        saving: what would write one; nobody here runs it.
        functions: names of the graph's functions.
    """

    every: tuple[Node, ...]
    serving: tuple[Node, ...]
    loading: tuple[Node, ...]
    restoring: tuple[Node, ...]
    saving: tuple[Node, ...]
    functions: frozenset[str]


def read(artifact: Path) -> Any:
    """The ``SavedModel`` protocol buffer of a folder.

    Raises:
        ModelRejected: ``backend.artifact-missing``, ``backend.artifact-damaged``.
    """
    path = artifact / "saved_model.pb"
    if not path.is_file():
        raise ModelRejected(f"{artifact.name}: no saved_model.pb in it", code="backend.artifact-missing")
    from tensorflow.core.protobuf import saved_model_pb2  # part of TensorFlow's public protocol buffers

    parsed = saved_model_pb2.SavedModel()
    try:
        parsed.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError has moved between its versions
        raise _damaged(artifact, f"saved_model.pb does not parse: {error}") from error
    if not parsed.meta_graphs:
        raise _damaged(artifact, "saved_model.pb holds no graph")
    return parsed


def reached(meta: Any, signature: str) -> Reached:
    """Who runs what in one graph. ``signature`` is the one that is to be served."""
    walk = _Walk(meta)
    objects, saver = list(meta.object_graph_def.nodes), meta.saver_def
    children = [(child.local_name, child.node_id) for one in objects for child in one.children]
    named = [place for name, place in children if name == signature]
    filling = [place for name, place in children if name in _INIT_CHILDREN]
    keeping = [
        place
        for one in objects
        for pair in one.saveable_objects.values()
        for place in (pair.save_function, pair.restore_function)
    ]
    return Reached(
        every=walk.every,
        serving=walk.run_by(_outputs(meta, signature), walk.of_objects(objects, named)),
        loading=walk.run_by(_initial(meta), walk.of_objects(objects, filling)),
        restoring=walk.run_by([saver.restore_op_name], walk.of_objects(objects, keeping)),
        saving=walk.run_by([saver.save_tensor_name, saver.filename_tensor_name]),
        functions=frozenset(walk.functions),
    )


class _Walk:
    """Over one graph and its functions."""

    def __init__(self, meta: Any) -> None:
        self.functions: dict[str, list[Node]] = {}
        self._alike: dict[tuple[Any, ...], set[str]] = {}
        self._implements: dict[str, tuple[Any, ...]] = {}
        for function in meta.graph_def.library.function:
            name = str(function.signature.name)
            self.functions[name] = [Node(name, node) for node in function.node_def]
            # TensorFlow may take another function that says it does the same (Keras's LSTM on a GPU), of the same
            # sort: there are those of training that go forward and backward.
            if alike := _text(function, "api_implements"):
                sort = tuple(bool(_text(function, f"{way}_function_name")) for way in ("forward", "backward"))
                self._implements[name] = (alike, sort)
                self._alike.setdefault((alike, sort), set()).add(name)
        self._nodes = {str(node.name): Node("", node) for node in meta.graph_def.node}
        self.every = (*self._nodes.values(), *(node for nodes in self.functions.values() for node in nodes))

    def of_objects(self, objects: list[Any], places: Iterable[int]) -> set[str]:
        """The functions that objects of the graph of objects are."""
        names: set[str] = set()
        for place in places:
            if -len(objects) <= place < len(objects):  # as Python counts, and so the loader
                one = objects[place]
                names.update(one.function.concrete_functions)
                names.add(one.bare_concrete_function.concrete_function_name)
        return names

    def run_by(self, tensors: Iterable[str], functions: Iterable[str] = ()) -> tuple[Node, ...]:
        """All that these tensors (or operations) need and these functions do, and what that calls."""
        nodes: list[Node] = []
        called: set[str] = set()
        waiting, calls = self._needed(tensors), set(functions)
        while waiting or calls:
            nodes += waiting
            calls |= {name for node in waiting for name in (node.kind, *_named(node.definition))}
            calls |= {other for name in calls for other in self._alike.get(self._implements.get(name, ()), ())}
            fresh = {name for name in calls if name in self.functions} - called
            called |= fresh
            waiting, calls = [node for name in sorted(fresh) for node in self.functions[name]], set()
        return tuple(nodes)

    def _needed(self, tensors: Iterable[str]) -> list[Node]:
        """The graph's nodes that these are computed from; control inputs are inputs."""
        names = [_node_of(name) for name in tensors]
        needed: dict[str, Node] = {}
        while names:
            name = names.pop()
            if name in self._nodes and name not in needed:
                needed[name] = self._nodes[name]
                names += [_node_of(one) for one in needed[name].definition.input]
        return list(needed.values())


def _text(function: Any, attribute: str) -> bytes:
    return bytes(function.attr[attribute].s) if attribute in function.attr else b""


def _outputs(meta: Any, signature: str) -> list[str]:
    if signature not in meta.signature_def:
        return []
    return [info.name for info in meta.signature_def[signature].outputs.values()]


def _initial(meta: Any) -> Iterator[str]:
    """What a loader of TensorFlow 1's models runs to initialise."""
    yield from _outputs(meta, INIT_SIGNATURE)
    for key in _INIT_COLLECTIONS:
        if key in meta.collection_def:
            yield from meta.collection_def[key].node_list.value
    if _LOCAL_VARIABLES in meta.collection_def:
        from tensorflow.core.framework import variable_pb2

        for data in meta.collection_def[_LOCAL_VARIABLES].bytes_list.value:
            yield str(variable_pb2.VariableDef.FromString(data).initializer_name)


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _named(node: Any) -> Iterator[str]:
    """The functions that a node names."""
    for value in node.attr.values():
        yield str(value.func.name)
        yield from (str(one.name) for one in value.list.func)


def _damaged(artifact: Path, why: str) -> ModelRejected:
    return ModelRejected(
        f"{artifact.name} is not a whole SavedModel: {why}",
        code="backend.artifact-damaged",
        remedy="convert the model again, or fetch the bundle again",
    )

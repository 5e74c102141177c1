"""Which weight holds which channel: the model's graph followed once, and what came of it.

``Trace.bindings`` says of each axis of each weight which atom its positions belong to. That one table is enough to
remove channels (slice every axis), to count what is left (multiply the lengths) and to rank them (norms by position).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from edgeai_keras.channels.atoms import Atoms, Ids, Label
from edgeai_keras.channels.graph import Value, flat, inputs_of, is_model, outputs_of, walk
from edgeai_keras.frameworks import keras

Axis: TypeAlias = tuple[int, int]
"""(identity of a weight, axis from the end)."""


@dataclass(slots=True, eq=False)
class Producer:
    """A layer that makes channels, or scales each of them by weights of its own (a depthwise convolution).

    Attributes:
        layer: its path, ``model/layer`` in nested models.
        kernel: the weight whose slices are the channels' filters.
        axis: of the kernel, from the end.
        atoms: one a channel.
        bias: or ``None``.
        norm: the batch normalisation that follows directly, or ``None``.
        makes: whether its atoms are its own.
    """

    layer: str
    kernel: Any
    axis: int
    atoms: Ids
    bias: Any = None
    norm: Any = None
    makes: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """A number in a layer's configuration that is the length of an axis: ``filters``, ``units``, a target shape."""

    key: str
    atoms: Ids
    place: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A layer that cannot be followed, and the channels that it would have to let go."""

    layer: str
    kind: str
    why: str
    atoms: Ids


@dataclass(slots=True, eq=False)
class Trace:
    """All that following a model's graph says of its channels.

    Attributes:
        atoms: the channels and what ties them.
        variables: identity -> weight, of every weight in ``bindings`` or ``work``.
        bindings: axis of a weight -> the atom of each position.
        producers: by the kernel's identity, in the order of the graph.
        edits: identity of a layer -> what changes in its configuration.
        work: identity of a weight -> multiply-accumulates for each of its elements, over all calls.
        owners: identity of a weight -> path of its layer.
        problems: what could not be followed; harmless where all its channels stay.
        uncounted: layers with weights whose multiply-accumulates are not known.
        entries: (identity of a nested model, place of an input) -> the channels that it is given.
        seen: paths and names of all layers.
    """

    atoms: Atoms = field(default_factory=Atoms)
    variables: dict[int, Any] = field(default_factory=dict)
    bindings: dict[Axis, Ids] = field(default_factory=dict)
    producers: dict[int, Producer] = field(default_factory=dict)
    edits: dict[int, list[Edit]] = field(default_factory=dict)
    work: dict[int, int] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)
    entries: dict[tuple[int, int], Label] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def bind(self, variable: Any, axis: int, atoms: Ids) -> None:
        """Say whose the positions of a weight's axis are; a second time (a shared layer) ties both."""
        self.variables[id(variable)] = variable
        known = self.bindings.setdefault((id(variable), axis), atoms)
        if known is not atoms:
            self.atoms.unite(known, atoms)

    def count(self, variable: Any, times: int, owner: str) -> None:
        """Say how often each element of a weight is multiplied and accumulated in one inference."""
        self.variables[id(variable)] = variable
        self.owners[id(variable)] = owner
        self.work[id(variable)] = self.work.get(id(variable), 0) + times


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call of one layer, as a rule sees it."""

    trace: Trace
    layer: Any
    path: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Value
    inputs: list[Value]

    @property
    def input(self) -> Value:
        """The first input."""
        return self.inputs[0]

    def channels(self, value: Value | None = None) -> Ids:
        """The atoms of the last axis. What lies on another axis is unfollowed."""
        value = value or self.input
        if value.label is not None and value.label.axis == -1:
            return value.label.atoms
        if value.label is not None:
            self.unfollowed("its channels are not on the last axis")
        return np.zeros(value.shape[-1], np.int64)

    def produced(self, kernel: Any, axis: int, *, bias: Any = None, key: str) -> Label:
        """This layer's own channels: the same ones however often it is called."""
        trace = self.trace
        producer = trace.producers.get(id(kernel))
        if producer is None:
            atoms = trace.atoms.new(int(kernel.shape[axis]))
            producer = trace.producers[id(kernel)] = Producer(self.path, kernel, axis, atoms, bias)
            trace.bind(kernel, axis, atoms)
            if bias is not None:
                trace.bind(bias, -1, atoms)
            trace.edits.setdefault(id(self.layer), []).append(Edit(key, atoms))
        return Label(-1, producer.atoms, producer)

    def scaled(self, kernel: Any, axis: int, atoms: Ids, bias: Any, out: Ids) -> Label:
        """Channels that pass with weights of this layer's, which count in their importance."""
        self.trace.bind(kernel, axis, atoms)
        if bias is not None:
            self.trace.bind(bias, -1, out)
        producer = Producer(self.path, kernel, axis, atoms, bias, makes=False)
        return Label(-1, out, self.trace.producers.setdefault(id(kernel), producer))

    def edit(self, key: str, atoms: Ids, place: int | None = None) -> None:
        """Have a number of the configuration follow the length of an axis; once, however often it is called."""
        edits = self.trace.edits.setdefault(id(self.layer), [])
        if all((edit.key, edit.place) != (key, place) for edit in edits):
            edits.append(Edit(key, atoms, place))

    def unfollowed(self, why: str, atoms: Ids | None = None) -> None:
        """Say that this layer cannot let channels go: those given, or all of its inputs'."""
        if atoms is None:
            labelled = [value.label.atoms for value in self.inputs if value.label is not None]
            atoms = np.concatenate(labelled) if labelled else np.zeros(0, np.int64)
        self.trace.problems.append(Problem(self.path, type(self.layer).__name__, why, atoms))

    def refused(self, why: str) -> Label | None:
        """``unfollowed``, as a rule's answer.

        Where the shape stays, so does the label: it may lead to an output of the model, whose channels stay anyway.
        """
        self.unfollowed(why)
        return self.input.label if self.input.shape == self.output.shape and len(self.inputs) == 1 else None


Rule: TypeAlias = Callable[[Call], Label | None]
"""What a kind of layer does with the channels of its inputs: binds its weights, and labels its output."""

RuleOf: TypeAlias = Callable[[Any], Rule]
"""The rule of a layer or operation."""


def follow(model: Any, rule_of: RuleOf, *, keep: Collection[str] = ()) -> Trace:
    """Follow a model's graph.

    Args:
        model: functional or Sequential.
        rule_of: what each layer does.
        keep: names or paths of layers whose channels stay, all of them.

    Raises:
        CompressionFailed: a model whose graph is not known.
    """
    trace = Trace()
    walker = _Walker(trace, rule_of, frozenset(keep))
    for value in walk(model, inputs_of(model), walker.visit):
        if value.label is not None:
            trace.atoms.keep(value.label.atoms)
    for problem in trace.problems:
        if {problem.layer, problem.layer.rpartition("/")[2]} & walker.keep:
            trace.atoms.keep(problem.atoms)
    return trace


@dataclass(frozen=True, slots=True)
class _Walker:
    trace: Trace
    rule_of: RuleOf
    keep: frozenset[str]

    def visit(self, operation: Any, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = {path, operation.name}
        self.trace.seen |= names
        outputs = self._call(operation, path, args, kwargs)
        if names & self.keep:
            for value in flat(outputs):
                if value.label is not None:
                    self.trace.atoms.keep(value.label.atoms)
        return outputs

    def _call(self, operation: Any, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inner = getattr(operation, "layer", None) if type(operation).__name__ == "TimeDistributed" else None
        if inner is not None:
            return self._each_step(inner, path, args[0] if args else kwargs["inputs"])
        if is_model(operation):
            inputs = _arranged(operation, args, kwargs)
            self._enter(operation, path, inputs)
            values = walk(operation, inputs, self.visit, f"{path}/")
            return values[0] if len(values) == 1 else keras.tree.pack_sequence_as(operation.output, values)
        outputs = outputs_of(operation, args, kwargs)
        given = flat(outputs)
        call = Call(self.trace, operation, path, args, kwargs, given[0], flat((args, kwargs)))
        label = self.rule_of(operation)(call)
        if label is None or len(given) != 1:
            return outputs
        return Value(given[0].shape, given[0].dtype, label)

    def _enter(self, model: Any, path: str, inputs: list[Value]) -> None:
        """A nested model's inputs have one width, however often it is called."""
        for place, value in enumerate(inputs):
            label = value.label or Label(-1, np.zeros(value.shape[-1], np.int64))
            known = self.trace.entries.setdefault((id(model), place), label)
            if known.axis == label.axis:
                self.trace.atoms.unite(known.atoms, label.atoms)
            else:
                atoms = np.concatenate([known.atoms, label.atoms])
                why = "it is called with channels on different axes"
                self.trace.problems.append(Problem(path, type(model).__name__, why, atoms))

    def _each_step(self, inner: Any, path: str, value: Value) -> Any:
        """TimeDistributed: the layer inside sees one step, and works once for each of them."""
        steps = value.shape[1]
        before = dict(self.trace.work)
        step = Value((value.shape[0], *value.shape[2:]), value.dtype, value.label)
        result = self.visit(inner, f"{path}/{inner.name}", (step,), {})
        for variable, times in self.trace.work.items():
            earlier = before.get(variable, 0)
            self.trace.work[variable] = earlier + steps * (times - earlier)
        return Value((result.shape[0], steps, *result.shape[1:]), result.dtype, result.label)


def _arranged(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Value]:
    """The values that a nested model is called with, in the order of its inputs."""
    given = args[0] if args else kwargs["inputs"]
    if isinstance(given, dict) and not isinstance(model.input, dict):
        return [given[tensor.name] for tensor in model.inputs]
    return flat(given)


def positions(shape: tuple[int, ...]) -> int:
    """How many positions a channels-last tensor has: of one sample, or of all that a model makes of it (``views``)."""
    return math.prod(shape[:-1])

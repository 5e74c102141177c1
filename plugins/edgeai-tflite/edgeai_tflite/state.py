"""What in a TensorFlow Lite model outlives a run: variables that it assigns, and random numbers that it draws.

Source: TensorFlow Lite's ``schema.fbs`` version 3. An interpreter clears *variable tensors* (a recurrent layer's) when
it is asked to; *resource variables* it keeps for as long as it lives: their initialiser (``CALL_ONCE``) runs but once.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgeai.api import ModelRejected

_RANDOM: Final = {146: "RANDOM_STANDARD_NORMAL", 148: "RANDOM_UNIFORM", 149: "MULTINOMIAL"}
_ASSIGNING: Final = frozenset({138, 144})  # HASHTABLE_IMPORT, ASSIGN_VARIABLE
_CALL, _IF, _WHILE, _CALL_ONCE = 31, 118, 119, 129
_BRANCHES: Final = {_CALL: (0,), _IF: (0, 1), _WHILE: (0, 1)}
"""Which fields of an operator's options name the subgraphs that it runs."""
_STABLEHLO: Final = range(162, 210)
"""May run subgraphs too, in options of many kinds; with one of them, any subgraph counts as run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What of a run the next one would meet.

    Attributes:
        tensors: variable tensors, which the interpreter can clear.
        resources: variables that a run assigns, which only a new interpreter forgets.
        random: operators that draw random numbers.
    """

    tensors: bool = False
    resources: bool = False
    random: tuple[str, ...] = ()


def kept_by(path: Path, *, name: str = "") -> Kept:
    """What the model's first subgraph, which is the one that sessions run, keeps for its next run.

    Args:
        path: the file.
        name: what errors call it; by default as it is called.

    Raises:
        ModelRejected: ``backend.artifact-damaged``.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            model = _Table(data, _u32(data, 0))
            kinds = [_kind(one) for one in model.tables(1)]
            graphs = [_Graph.read(one, kinds) for one in model.tables(2)]
        except (struct.error, IndexError) as error:  # an engine that took the file for whole did not look so far
            raise ModelRejected(
                f"{name or path.name} is not a whole TensorFlow Lite model: {error}",
                code="backend.artifact-damaged",
                remedy="fetch the bundle again, or convert the model again",
            ) from error
    run = _run_of(graphs)
    operators = {kind for number in run for kind in graphs[number].kinds}
    return Kept(
        tensors=any(graph.variable_tensors for graph in graphs),
        resources=bool(operators & _ASSIGNING),
        random=tuple(sorted(name for kind, name in _RANDOM.items() if kind in operators)),
    )


def refuse_random(artifact: Path, kept: Kept) -> None:
    """Raise ``ModelRejected``, ``backend.random``, for a model that draws random numbers."""
    if kept.random:
        raise ModelRejected(
            f"{artifact.name} draws random numbers ({', '.join(kept.random)}): the same image would give another "
            "answer each time",
            code="backend.random",
            remedy="convert it as it is for inference: without dropout, noise or sampling",
        )


@dataclass(slots=True)
class _Graph:
    """A subgraph: the kinds of its operators, which subgraphs they run, and whether it has variable tensors."""

    kinds: set[int] = field(default_factory=set)
    runs: set[int] = field(default_factory=set)
    variable_tensors: bool = False

    @classmethod
    def read(cls, table: _Table, kinds: list[int]) -> _Graph:
        graph = cls(variable_tensors=any(tensor.byte(5) for tensor in table.tables(0)))
        for operator in table.tables(3):
            kind = kinds[operator.u32(0)]
            graph.kinds.add(kind)
            options = operator.table(4)
            graph.runs |= {options.u32(number) if options else 0 for number in _BRANCHES.get(kind, ())}
        return graph


def _run_of(graphs: list[_Graph]) -> set[int]:
    """The first subgraph and those that it runs, at whatever depth; not those that run but once, to initialise."""
    known = set(range(len(graphs)))
    reached: set[int] = set()
    waiting = {0} & known
    while waiting:
        number = waiting.pop()
        reached.add(number)
        holds_any = any(kind in _STABLEHLO for kind in graphs[number].kinds)
        waiting |= (known if holds_any else graphs[number].runs & known) - reached
    return reached


def _kind(code: _Table) -> int:
    """The builtin code, which has stood in a byte of its own until there were more than 127."""
    return max(code.byte(0), code.u32(3))


def _u32(data: mmap.mmap, position: int) -> int:
    return int(struct.unpack_from("<I", data, position)[0])


class _Table:
    """A table of a flatbuffer; fields by number, 0 or none where the file leaves them out."""

    def __init__(self, data: mmap.mmap, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - int(struct.unpack_from("<i", data, position)[0])
        self._bytes = int(struct.unpack_from("<H", data, self._vtable)[0])

    def _place(self, number: int) -> int:
        """Where the field lies; 0 where it is left out."""
        slot = 4 + 2 * number
        if slot + 2 > self._bytes:
            return 0
        offset = int(struct.unpack_from("<H", self._data, self._vtable + slot)[0])
        return self._position + offset if offset else 0

    def u32(self, number: int) -> int:
        place = self._place(number)
        return _u32(self._data, place) if place else 0

    def byte(self, number: int) -> int:
        place = self._place(number)
        return self._data[place] if place else 0

    def table(self, number: int) -> _Table | None:
        place = self._place(number)
        return _Table(self._data, place + _u32(self._data, place)) if place else None

    def tables(self, number: int) -> Iterator[_Table]:
        place = self._place(number)
        if not place:
            return
        start = place + _u32(self._data, place)
        for item in range(_u32(self._data, start)):
            at = start + 4 + 4 * item
            yield _Table(self._data, at + _u32(self._data, at))

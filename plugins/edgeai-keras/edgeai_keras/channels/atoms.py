"""Channels that can only go together: a union-find over *atoms*.

An atom is one channel that one layer makes. Where the graph ties two of them (both sides of an Add, both uses of a
shared layer) they are united; what is tied to something that stays (a model's input or output, a layer of ``keep``)
is united with ``FIXED``. What remains are classes: each can be removed, as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

FIXED = 0
"""The atom that is never removed; whatever is united with it stays."""


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """Which atoms the positions of a tensor's axis belong to.

    Attributes:
        axis: counted from the end (-1 for channels last), so that a leading axis more or less changes nothing.
        atoms: one a position of that axis.
        source: the ``Producer`` whose output this is, but for activations and the like; a batch normalisation that
            comes next belongs to it.
    """

    axis: int
    atoms: Ids
    source: Any = None


class Atoms:
    """The atoms of a model and which of them are one class."""

    def __init__(self) -> None:
        self._parents = [FIXED]

    def new(self, count: int) -> Ids:
        """``count`` atoms, each a class of its own."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def root(self, atom: int) -> int:
        """The class of an atom: the least of its atoms."""
        parents = self._parents
        while parents[atom] != atom:
            parents[atom] = parents[parents[atom]]
            atom = parents[atom]
        return atom

    def roots(self) -> Ids:
        """The class of every atom."""
        return np.fromiter((self.root(atom) for atom in range(len(self._parents))), dtype=np.int64)

    def unite(self, these: Ids, those: Ids) -> None:
        """Tie two equally long rows of atoms, position by position."""
        for this, that in zip(these.tolist(), those.tolist(), strict=True):
            low, high = sorted((self.root(this), self.root(that)))
            self._parents[high] = low

    def keep(self, atoms: Ids) -> None:
        """None of these is ever removed."""
        self.unite(atoms, np.zeros_like(atoms))

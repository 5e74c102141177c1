"""Which channels may go, in groups that are pruned as one layer is: same layers, each channel as a unit."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from edgeai.api import CompressionFailed
from edgeai_keras.channels.atoms import FIXED, Ids
from edgeai_keras.channels.trace import Problem, Trace


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that the same layers make.

    Attributes:
        layers: paths of those layers; unique among the groups of a model.
        classes: one a channel: the least of its atoms, in order.
    """

    layers: tuple[str, ...]
    classes: tuple[int, ...]


def groups_of(trace: Trace) -> tuple[Group, ...]:
    """The groups of a model, in the order of its graph. What must stay is in none."""
    roots = trace.atoms.roots()
    makers: dict[int, list[str]] = defaultdict(list)
    for producer in trace.producers.values():
        if producer.makes:
            for root in np.unique(roots[producer.atoms]).tolist():
                makers[root].append(producer.layer)
    by_layers: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for root, layers in makers.items():
        if root != FIXED:
            by_layers[tuple(layers)].append(root)
    return tuple(Group(layers, tuple(sorted(classes))) for layers, classes in by_layers.items())


def settle(trace: Trace, *, keep: Collection[str] = (), keep_unknown: bool = False) -> tuple[str, ...]:
    """Refuse the layers that cannot let channels go, or keep what they are given; afterwards nothing open is left.

    Args:
        trace: the model's.
        keep: as it was followed with.
        keep_unknown: keep the channels that such a layer is given, in place of refusing it.

    Returns:
        A note for each layer whose inputs were kept.

    Raises:
        CompressionFailed: ``compress.layer-unfollowed``, ``compress.layer-unknown``.
    """
    absent = sorted(set(keep) - trace.seen)
    if absent:
        near = difflib.get_close_matches(absent[0], sorted(trace.seen), n=1)
        raise CompressionFailed(
            f"keep names {', '.join(map(repr, absent))}, and the model has no such layer",
            code="compress.layer-unknown",
            remedy=f"did you mean {near[0]!r}?" if near else "see model.summary() for the layers' names",
        )
    notes = []
    for problem in trace.problems:
        roots = trace.atoms.roots()[problem.atoms]
        if not roots.any():
            continue
        if not keep_unknown:
            raise _unfollowed(trace, problem, roots)
        trace.atoms.keep(problem.atoms)
        notes.append(f"kept whole before {problem.layer} ({problem.kind}): {problem.why}")
    return tuple(notes)


def _unfollowed(trace: Trace, problem: Problem, roots: Ids) -> CompressionFailed:
    wanted = set(roots.tolist()) - {FIXED}
    known = trace.atoms.roots()
    makers = [p.layer for p in trace.producers.values() if p.makes and wanted & set(known[p.atoms].tolist())]
    listed = ", ".join(f'"{name}"' for name in makers)
    return CompressionFailed(
        f"channels cannot be followed through layer {problem.layer!r} ({problem.kind}): {problem.why}",
        code="compress.layer-unfollowed",
        remedy=f"keep the channels that reach it with the option keep = [{listed}], have all such channels kept with"
        ' unknown = "keep", or rebuild that part of the model from layers that can be followed',
    )

"""The way from a model to a smaller one: follow, rank, choose, cut, fine-tune; and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeai.api import CompressionFailed, CompressRequest
from edgeai_keras.channels import latency
from edgeai_keras.channels.choice import Choosing, Limits, Target
from edgeai_keras.channels.counting import Cost, Sizes, cost
from edgeai_keras.channels.groups import Group, groups_of, settle
from edgeai_keras.channels.importance import importance, without_norm
from edgeai_keras.channels.options import Plan
from edgeai_keras.channels.rules import rule_of
from edgeai_keras.channels.surgery import remove
from edgeai_keras.channels.trace import Trace, follow
from edgeai_keras.tuning import tuned, tuned_note

_MULTIPLES = (16, 8, 4, 2, 1)
_NEAR = 0.93
"""A coarser multiple of channels may come to this much of the target before a finer one is tried."""

_MOST_TRIALS = 7
_CLOSE = 0.02
"""A latency this much below the target is near enough to stop looking for a dearer model."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What came of it.

    Attributes:
        model: the smaller one.
        before, after: costs.
        widths: path of each layer that lost channels -> how many it had and has.
        notes: for the report.
        facts: figures beside the costs.
    """

    model: Any
    before: Cost
    after: Cost
    widths: Mapping[str, tuple[int, int]]
    notes: tuple[str, ...]
    facts: Mapping[str, float]


def prune(
    model: Any,
    plan: Plan,
    request: CompressRequest,
    *,
    measure: Callable[[Any, Any], float] = latency.ratio,
) -> Pruned:
    """Prune a loaded model; it is left as it was.

    Args:
        model: functional or Sequential.
        plan: what is asked for.
        request: what fine-tuning needs of it, and its ``progress``.
        measure: ``(smaller, parent)`` -> latency ratio, for a latency target.

    Raises:
        CompressionFailed: ``compress.layer-unfollowed``, ``compress.layer-unknown``, ``compress.target-unreachable``.
    """
    before = cost(model)
    widest = widths(follow(model, rule_of))
    notes = list(_notes(model, plan))
    facts: dict[str, float] = {}
    if plan.target == "latency":
        plan, facts["latency_ratio"] = _for_latency(model, plan, request, measure)
        notes.append(f"latency met at {plan.fraction:.3f} of the FLOPs, measured on this host with {latency.engine()}")
    small = model
    for step in range(1, plan.steps + 1):
        small = _round(small, plan, request, _target(plan, before, step / plan.steps))
        now = cost(small)
        request.progress(f"pruning {step} of {plan.steps}: {_share(now, before)}")
        history = plan.tuning.run(small, request, ())
        facts |= tuned(history)
        notes.append(tuned_note(history) if plan.steps == 1 else f"round {step}: {tuned_note(history)}")
    left = widths(follow(small, rule_of))
    changed = {layer: (count, left[layer]) for layer, count in widest.items() if left[layer] != count}
    return Pruned(small, before, cost(small), changed, tuple(notes), facts)


def widths(trace: Trace) -> dict[str, int]:
    """Channels of each layer that makes any."""
    return {producer.layer: len(producer.atoms) for producer in trace.producers.values() if producer.makes}


def _followed(model: Any, plan: Plan) -> tuple[Trace, tuple[Group, ...], tuple[str, ...]]:
    trace = follow(model, rule_of, keep=plan.keep)
    notes = settle(trace, keep=plan.keep, keep_unknown=plan.unknown == "keep")
    return trace, groups_of(trace), notes


def _notes(model: Any, plan: Plan) -> Sequence[str]:
    trace, groups, notes = _followed(model, plan)
    bare = without_norm(trace, groups) if plan.importance == "bn-gamma" else []
    return [*notes, *([f"no batch normalisation follows, ranked by l2: {', '.join(bare)}"] if bare else [])]


def _target(plan: Plan, before: Cost, part: float) -> Target:
    whole = before.parameters if plan.target == "parameters" else before.macs
    # The same share goes in every round, so that the last, on the smallest model, is no harder than the first.
    return Target("parameters" if plan.target == "parameters" else "macs", whole * plan.fraction**part)


def _round(model: Any, plan: Plan, request: CompressRequest, target: Target) -> Any:
    trace, groups, _ = _followed(model, plan)
    figures = importance(model, trace, groups, plan.importance, objective=request.objective, train=request.train)
    sizes = Sizes(trace, int(model.count_params()))
    return remove(model, trace, _chosen(plan, groups, figures, sizes, target))


def _chosen(
    plan: Plan, groups: Sequence[Group], importance: Mapping[int, float], sizes: Sizes, target: Target
) -> set[int]:
    """By the multiple that was asked for, or by the greatest that meets the target without going far below it."""
    choices: list[tuple[int, set[int]]] = []
    multiples = (plan.round_to,) if plan.round_to else _MULTIPLES
    for multiple in multiples:
        choosing = Choosing(groups, importance, sizes, target, Limits(plan.min_channels, multiple))
        try:
            gone = choosing.globally() if plan.scope == "global" else choosing.by_layer()
        except CompressionFailed:
            if multiple == multiples[-1] and not choices:
                raise
            continue
        left = target.cost(sizes) - target.saved(sizes, gone)
        choices.append((left, gone))
        if left >= _NEAR * target.most:
            break
    return max(choices, key=lambda one: one[0])[1]


def _for_latency(
    model: Any, plan: Plan, request: CompressRequest, measure: Callable[[Any, Any], float]
) -> tuple[Plan, float]:
    """The plan in FLOPs whose model is fast enough: tried on models that are cut, but not trained."""
    wanted, low, high = plan.fraction, 0.0, 1.0
    before = cost(model)
    best: tuple[Plan, float] | None = None
    guess = wanted
    for trial in range(1, _MOST_TRIALS + 1):
        tried = replace(plan, target="flops", fraction=guess)
        try:
            ratio = measure(_round(model, tried, request, _target(tried, before, 1.0)), model)
        except CompressionFailed as error:
            if error.code != "compress.target-unreachable":
                raise
            request.progress(f"latency trial {trial}: {guess:.3f} of the FLOPs cannot be reached")
            low, guess = guess, (guess + high) / 2
            continue
        request.progress(f"latency trial {trial}: {ratio:.3f} of the parent's at {guess:.3f} of the FLOPs")
        if ratio <= wanted:
            best, low = (tried, ratio), guess
            if ratio >= wanted * (1 - _CLOSE):
                break
        else:
            high = guess
        guess = (low + high) / 2 if low else guess * min(0.9, max(0.4, wanted / ratio))
    if best is None:
        raise CompressionFailed(
            f"no model that pruning can make takes {wanted:.3g} of the parent's time",
            code="compress.target-unreachable",
            remedy="ask for less, lower min_channels or round_to, or look at what else the time is spent on",
        )
    return best


def _share(now: Cost, before: Cost) -> str:
    return (
        f"{now.macs / max(1, before.macs):.1%} of the FLOPs, {now.parameters / before.parameters:.1%} of the parameters"
    )

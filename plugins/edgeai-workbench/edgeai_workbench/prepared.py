"""Samples as the model sees them: through the card's own transforms once, then as many times as anyone asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeai.api import (
    Array,
    Batch,
    Case,
    DataRejected,
    EdgeaiError,
    EvaluationFailed,
    Frame,
    FrameContext,
    InstanceRef,
    Judge,
    MovableTargets,
    Tensors,
    TensorSpec,
)
from edgeai.bundle.manifest import Eligibility
from edgeai.bundle.uses import GuardUse
from edgeai.model.looks import Looks
from edgeai.model.sentry import Sentry
from edgeai.model.withheld import Withheld
from edgeai.pipeline import Pipeline
from edgeai_workbench.balance import Balance, Balanced
from edgeai_workbench.dataset import Sample
from edgeai_workbench.moving import MovingTargets
from edgeai_workbench.splits import Split

_SAID = 10
"""Times that progress is told."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What every step of a build asks of its samples.

    Attributes:
        samples: n of them.
        judge: of the task; who says what is true of them and how good answers are.
        inputs: input name -> (n, ...), stacked.
        contexts: for each, the frame as the model saw it, and its instance.
        targets: output name -> (n, ...) float32, as ``Judge.targets`` says; ``None`` where nobody says, or asked.
        looked: for each, the code by which a guard withholds it, empty where it passes; empty altogether where nothing
            looks at it. Of what ``prepare`` gives, that is before the model; a distance is asked with the model.
    """

    samples: tuple[Sample, ...]
    judge: Judge
    inputs: Tensors
    contexts: tuple[FrameContext, ...]
    targets: Tensors | None = None
    looked: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def known(self) -> bool:
        """Whether anyone says what is true of them."""
        return any(sample.truth is not None for sample in self.samples)

    @property
    def withheld(self) -> dict[str, int] | None:
        """Code -> how many of them are withheld, as ``looked``; ``None`` where nothing looks at them."""
        return dict(sorted(Counter(filter(None, self.looked)).items())) if self.looked else None

    def cases(self) -> tuple[Case, ...]:
        """The samples as the judge sees them.

        Raises:
            DataRejected: ``data.target-missing``: a sample of which nobody says what is true.
        """
        pairs = zip(self.samples, self.contexts, strict=True)
        return tuple(case_of(sample, context, self.judge) for sample, context in pairs)

    def compared(self) -> Tensors:
        """What training compares outputs with; ``MovableTargets`` where truth has to be moved with its picture.

        Raises:
            DataRejected: ``data.target-missing``: samples without targets.
        """
        if self.targets is None:
            raise DataRejected("the samples have no targets", code="data.target-missing")
        return MovingTargets(self.targets, self.cases(), self.judge) if self.judge.moves_by_truth else self.targets

    def take(self, count: int) -> Prepared:
        """At most ``count`` of them, evenly spread."""
        if count >= len(self):
            return self
        return self.at(np.unique(np.linspace(0, len(self) - 1, count).round().astype(int)))

    def at(self, places: Array | Sequence[int]) -> Prepared:
        """Those at these places, in this order."""
        chosen = np.asarray(places, int)
        return replace(
            self,
            samples=tuple(self.samples[place] for place in chosen),
            contexts=tuple(self.contexts[place] for place in chosen),
            inputs={name: value[chosen] for name, value in self.inputs.items()},
            targets=None if self.targets is None else {name: value[chosen] for name, value in self.targets.items()},
            looked=tuple(self.looked[place] for place in chosen) if self.looked else (),
        )


class Sieve:
    """Which samples bundles are meant for, asked of each when it is read, and not by reading it once more.

    Attributes:
        refused: why not the others: reason -> how many.
    """

    def __init__(self, *rules: Eligibility) -> None:
        self._rules = rules
        self.refused: dict[str, int] = {}

    def passes(self, instance: InstanceRef) -> bool:
        """Whether all are meant for it."""
        why = next(filter(None, (rule.why_not(instance) for rule in self._rules)), None)
        if why is not None:
            self.refused[why] = self.refused.get(why, 0) + 1
        return why is None


def prepare(
    samples: Sequence[Sample],
    pipeline: Pipeline,
    *,
    input: TensorSpec,
    judge: Judge,
    targets: bool = False,
    guard: GuardUse | None = None,
    sentry: Sentry | None = None,
    sieve: Sieve | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Prepared:
    """Read and transform every sample, and encode its target where that is asked for and something is known.

    Args:
        samples: all with a truth, or none.
        pipeline: the card's transforms.
        input: the model's image input.
        judge: of the task.
        targets: whether to encode what training compares outputs with.
        guard: what stands before the model, asked which of them it withholds; they are prepared all the same.
        sentry: the guard's model, where it has one and is to be asked too.
        sieve: asked of each sample; those that it does not let pass are left out.
        progress: told how far it is, now and then.

    Raises:
        DataRejected: a file or a mask that cannot be used, or that the transforms refuse; ``data.empty``.
        ConfigError: ``build.no-target``, when no target has the shape of the model's output.
        EvaluationFailed: ``evaluate.none-eligible``: the sieve lets none pass.
    """
    _hold_some(samples)
    encoded = targets and judge.objective is not None and any(sample.truth is not None for sample in samples)
    arrays: list[Array] = []
    contexts: list[FrameContext] = []
    kept: list[Sample] = []
    wanted: list[Tensors] = []
    looked: list[str] = []
    for number, sample in enumerate(samples, start=1):
        frame, instance = sample.load()
        if sieve is None or sieve.passes(instance):
            array, context, code = _seen(sample, frame, instance, pipeline, Looks(guard, sentry=sentry))
            looked.append(code)
            arrays.append(array[0])
            contexts.append(context)
            kept.append(sample)
            if encoded:
                wanted.append(judge.targets(case_of(sample, context, judge)))
        if number % max(1, len(samples) // _SAID) == 0 or number == len(samples):
            progress(f"{number} of {len(samples)} samples")
    if not kept:
        raise _none_eligible(len(samples), sieve.refused if sieve else {})
    stacked = np.stack(arrays)
    return Prepared(
        samples=tuple(kept),
        judge=judge,
        inputs={input.name: stacked},
        contexts=tuple(_sharing(context, array) for context, array in zip(contexts, stacked, strict=True)),
        targets={name: np.stack([each[name] for each in wanted]) for name in wanted[0]} if encoded else None,
        looked=tuple(looked) if sentry is not None or (guard is not None and guard.content) else (),
    )


def _hold_some(samples: Sequence[Sample]) -> None:
    if not samples:
        raise DataRejected("there are no samples", code="data.empty")


def _none_eligible(count: int, refused: Mapping[str, int]) -> EvaluationFailed:
    return EvaluationFailed(
        f"none of {count} samples is eligible: {'; '.join(refused)}",
        code="evaluate.none-eligible",
        remedy="judge a bundle on images that it is meant for; [dataset] can say their modality",
    )


def case_of(sample: Sample, context: FrameContext, judge: Judge) -> Case:
    """One sample as its judge sees it.

    Raises:
        DataRejected: ``data.target-missing``: nobody says what is true of it.
    """
    if sample.truth is None:
        what = judge.columns[0].name if judge.columns else "truth"
        key = what if what in Split.model_fields else f"truth.{what}"
        raise DataRejected(
            f"{sample.id}: has no {what}", code="data.target-missing", remedy=f"name its column in [dataset]: {key}"
        )
    return Case(id=sample.id, truth=sample.truth, context=context, image=lambda: sample.load()[0].pixels)


def untransformed(sample: Sample, judge: Judge) -> Case:
    """One sample as its judge sees it before any transform: for what its truth alone says. Raises as ``case_of``."""
    frame, instance = sample.load()
    return case_of(sample, FrameContext(frame=frame, instance=instance), judge)


def batches(
    prepared: Prepared, size: int = 16, *, seed: int = 0, shuffle: bool = True, balanced: Balanced = False
) -> Callable[[], Iterable[Batch]]:
    """What training asks for once an epoch: another order each time, the same orders for the same seed.

    ``balanced`` shows what the judge calls a stratum (a label), or each value of the subgroup that it names, as often
    as the most frequent one is there.

    Raises:
        ConfigError: ``build.balanced``: no sample has such a subgroup.
        DataRejected: ``data.target-missing``: samples without targets.
    """
    targets = prepared.compared()
    random = np.random.default_rng([seed, 0xDA7A])
    evened = Balance(balanced, prepared.samples, prepared.cases(), prepared.judge) if balanced else None

    def epoch() -> _Epoch:
        places = evened.epoch(random) if evened else np.arange(len(prepared))
        order = random.permutation(places) if shuffle else places
        return _Epoch(prepared.inputs, targets, order, size)

    return epoch


class _Epoch:
    """The batches of one epoch, each cut out when it is asked for."""

    def __init__(self, inputs: Tensors, targets: Tensors, order: Array, size: int) -> None:
        self._inputs, self._targets = inputs, targets
        self._order = order
        self._size = size

    def __len__(self) -> int:
        return -(-len(self._order) // self._size)

    def __iter__(self) -> Iterator[Batch]:
        for begin in range(0, len(self._order), self._size):
            places = self._order[begin : begin + self._size]
            yield _part(self._inputs, places), _part(self._targets, places)


def _part(tensors: Tensors, places: Array) -> Tensors:
    if isinstance(tensors, MovableTargets):
        return tensors.at(places)
    return {name: value[places].astype(np.float32, copy=False) for name, value in tensors.items()}


def _seen(
    sample: Sample, frame: Frame, instance: InstanceRef, pipeline: Pipeline, looks: Looks
) -> tuple[Array, FrameContext, str]:
    """The tensor, the frame as the model sees it, and by which code it is withheld; empty where it is not."""
    code = ""
    try:
        try:
            array, seen = looks.prepare_asked(pipeline, frame)
        except Withheld as error:
            code = error.code
            array, seen = pipeline.prepare(frame)
    except EdgeaiError as error:
        raise DataRejected(
            f"{sample.id}: the card's transforms refuse it: {error}", code="data.not-transformed", remedy=error.remedy
        ) from error
    return array, FrameContext(frame=seen, instance=instance), code


def _sharing(context: FrameContext, array: Array) -> FrameContext:
    """The context with the stacked tensor's memory as its pixels, where they are the same: half the memory."""
    frame: Frame = context.frame
    if (
        frame.pixels.size != array.size
        or frame.pixels.dtype != array.dtype
        or array.shape[:2] != frame.pixels.shape[:2]
    ):
        return context
    return replace(context, frame=replace(frame, pixels=array.reshape(frame.pixels.shape)))

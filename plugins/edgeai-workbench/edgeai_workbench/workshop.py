"""A card's folder with its plugins loaded and its samples prepared: what every step of a build works with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeai.api import HIGHER, ConfigError, Infer, Judge, Objective, Task, TaskRequest, Tensors, TensorSpec
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai_workbench.abstaining import judge_behind
from edgeai_workbench.balance import check_balanced
from edgeai_workbench.card import Card
from edgeai_workbench.convert import Samples, loaded, plugins_of
from edgeai_workbench.dataset import Sample, read_folder, read_splits
from edgeai_workbench.evaluation import Answers, answer, score
from edgeai_workbench.judges import judge_of
from edgeai_workbench.prepared import Prepared, batches, prepare
from edgeai_workbench.standing import sentry_of
from edgeai_workbench.variants import FineTuning

_BATCH = 16
_JUDGES = ("validation", "test")
_SCORED = 200
"""Samples that a converter's search for layers to keep in float looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Everything of a card that is loaded once.

    Attributes:
        registry: plugins of the recipes, the variants, the transforms and the task, and ``keras``.
        train, validation: samples as the model sees them; ``None`` without data.
        tested: samples of the test, which only the last step of a build prepares; none where the card has no test.
    """

    card: Card
    folder: Path
    registry: Registry
    task: Task
    judge: Judge
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    train: Prepared | None
    validation: Prepared | None
    tested: tuple[Sample, ...] = ()

    def with_card(self, card: Card) -> Workshop:
        """The same samples, judged as a card says whose task has other options."""
        task = self.registry.tasks[card.task.name].build(TaskRequest(options=card.task.options, outputs=self.outputs))
        judge = judge_behind(judge_of(self.registry, card.task, self.outputs), task, card.guard)
        return replace(self.with_judge(judge), card=card, task=task)

    def with_judge(self, judge: Judge) -> Workshop:
        """The same samples, judged by another."""
        train, validation = (
            None if one is None else replace(one, judge=judge) for one in (self.train, self.validation)
        )
        return replace(self, judge=judge, train=train, validation=validation)

    def prepared_test(self, progress: Callable[[str], None]) -> Prepared:
        """The test as the model sees it."""
        return _prepared(
            self.card, self.folder, {"test": self.tested}, self.registry, self.inputs[0], self.judge, progress
        )["test"]

    def tuning(self) -> FineTuning | None:
        """What compressors learn from."""
        if self.train is None or self.validation is None:
            return None
        if self.train.known and self.card.variants:
            objective_of(self.card, self.judge)
        if self.train.targets is None:
            return None
        prepared, training = self.train, self.card.training
        if self.card.variants:  # said before the first is tuned
            check_balanced(training.balanced, zip(prepared.samples, prepared.cases(), strict=True), self.judge)
        return FineTuning(
            objective=objective_of(self.card, self.judge),
            train=lambda: batches(prepared, _BATCH, seed=training.seed, shuffle=True, balanced=training.balanced),
            validation=batches(self.validation, _BATCH, shuffle=False),
        )

    def samples(self) -> Samples | None:
        """What quantising converters are given: evenly spread samples of the training table."""
        if self.train is None:
            return None
        prepared = self.train
        count = len(prepared.samples)
        chosen = np.unique(np.linspace(0, count - 1, min(count, self.card.calibration.samples)).round().astype(int))
        names = [spec.name for spec in self.inputs]

        def calibration() -> Iterator[Tensors]:
            for place in chosen:
                yield {name: prepared.inputs[name][place : place + 1] for name in names}

        digest = hashlib.sha256()
        for tensors in calibration():
            for name in names:
                digest.update(np.ascontiguousarray(tensors[name]).tobytes())
        return Samples(calibration=calibration, digest=f"sha256:{digest.hexdigest()}", score=self._score())

    def _score(self) -> Callable[[Infer], float] | None:
        if self.validation is None or not self.validation.known:
            return None
        judged = self.validation.take(_SCORED)

        def main_metric(infer: Infer) -> float:
            scores = score(judged, answer(judged, self._own(infer), self.task), metrics=(), resamples=0)
            main = scores[scores.main]
            return main.value if main.better == HIGHER else -main.value

        return main_metric

    def _own(self, infer: Infer) -> Infer:
        """The same, giving the task its own outputs alone: a variant that is watched has one more."""
        names = [spec.name for spec in self.outputs]

        def own(inputs: Tensors) -> Tensors:
            given = infer(inputs)
            return {name: given[name] for name in names if name in given}

        return own

    def answers(self, infer: Infer) -> Answers:
        """What an inference function says of every validation sample."""
        assert self.validation is not None
        return answer(self.validation, infer, self.task)


def open_workshop(
    card: Card, folder: Path, data: Path | None, *, progress: Callable[[str], None] = lambda step: None
) -> Workshop:
    """Load what the card names, and prepare its samples where ``data`` is given.

    Raises:
        ConfigError: ``build.no-judge``: a task whose plugin brings no judge.
        ConfigError, DataRejected: as ``samples_of``.
        EdgeaiError: a plugin that does not load.
    """
    progress("loading plugins")
    registry = loaded([*card.plugins, *plugins_of(card), "keras"])
    shared = card.for_manifest()
    inputs, outputs = (tuple(tensor.spec() for tensor in shared[what]) for what in ("inputs", "outputs"))
    registry.spec("task", card.task.name)  # says which plugins did not load, when it is missing
    task = registry.tasks[card.task.name].build(TaskRequest(options=card.task.options, outputs=outputs))
    judge = judge_behind(judge_of(registry, card.task, outputs), task, card.guard)
    samples = dict(samples_of(card, data, judge)) if data is not None else {}
    tested = samples.pop("test", ())
    prepared = _prepared(card, folder, samples, registry, inputs[0], judge, progress)
    return Workshop(
        card=card,
        folder=folder,
        registry=registry,
        task=task,
        judge=judge,
        inputs=inputs,
        outputs=outputs,
        train=prepared.get("train"),
        validation=prepared.get("validation"),
        tested=tested,
    )


def _prepared(
    card: Card,
    folder: Path,
    splits: Mapping[str, Sequence[Sample]],
    registry: Registry,
    source: TensorSpec,
    judge: Judge,
    progress: Callable[[str], None],
) -> Mapping[str, Prepared]:
    pipeline = Pipeline(card.transforms, registry.transforms, source)
    with sentry_of(card, folder) if set(splits) & set(_JUDGES) else nullcontext() as sentry:
        return {
            name: prepare(
                samples,
                pipeline,
                input=source,
                judge=judge,
                targets=True,
                guard=card.guard if name in _JUDGES else None,
                sentry=sentry if name in _JUDGES else None,
                progress=lambda words, name=name: progress(f"{name}: {words}"),  # type: ignore[misc]
            )
            for name, samples in splits.items()
        }


def samples_of(card: Card, data: Path, judge: Judge) -> Mapping[str, tuple[Sample, ...]]:
    """``train``, ``validation`` and perhaps ``test``: by the card's tables, else by folders.

    Without ``[dataset]``, ``data`` holds one sub-folder a label, and every third file of each is for validation; or
    images without labels, which all calibrate and on all of which artifacts are held against the parent.

    Raises:
        DataRejected: samples that cannot be used.
        ConfigError: ``build.no-dataset``: a task whose truth no folder can say.
    """
    if card.dataset is not None:
        return read_splits(card.dataset, data, judge)
    if not any((data / name).is_dir() for name in (*judge.folders, *judge.labels)):
        samples = read_folder(data)
        return {"train": samples, "validation": samples}
    if not judge.folders:
        raise ConfigError(
            f"a folder cannot say what is true for task {card.task.name}",
            code="build.no-dataset",
            remedy="add [dataset.train] and [dataset.validation] to the card; see docs/reference/card.md",
        )
    split: dict[str, list[Sample]] = {"train": [], "validation": []}
    places: dict[bytes, int] = {}
    for sample in read_folder(data, judge.folders):
        kind = judge.digest(sample.truth)
        place = places[kind] = places.get(kind, 0) + 1
        split["validation" if place % 3 == 0 else "train"].append(sample)
    return {name: tuple(samples) for name, samples in split.items()}


def objective_of(card: Card, judge: Judge) -> Objective:
    """What training minimises.

    Raises:
        ConfigError: ``build.no-objective``: a task that cannot be trained here.
    """
    if judge.objective is None:
        raise ConfigError(
            f"models of task {card.task.name} cannot be fine-tuned here: its judge has no objective",
            code="build.no-objective",
            remedy="build without [[variants]]",
        )
    return judge.objective

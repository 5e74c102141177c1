"""What ``edgeai evaluate`` and ``edgeai compare`` judge: a bundle as a cart runs it, or a ``.keras`` file beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from edgeai.api import (
    BackendUnavailable,
    ConfigError,
    DataRejected,
    EngineRef,
    EvaluationFailed,
    Infer,
    Judge,
    OpenRequest,
    Task,
    Tensors,
    check_tensors,
)
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.model import Model, open_model
from edgeai.model.distance import Distance
from edgeai.model.sentry import Sentry
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai_workbench.abstaining import AbstainingJudge, judge_behind
from edgeai_workbench.card import CARD_NAME, Card, read_card
from edgeai_workbench.dataset import Sample, read_folder, read_split
from edgeai_workbench.distances import Held, kept_back
from edgeai_workbench.evaluation import Answers, answer
from edgeai_workbench.judges import judge_by_plugins
from edgeai_workbench.prepared import Prepared, Sieve, prepare

KERAS = "keras"
SPLITS = ("validation", "train", "test", "external")
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineWish:
    """Where to run: names as the command line takes them; ``threads`` 0 for the engine's own default."""

    backend: str = ""
    device: str | None = None
    threads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contender:
    """A model that is open: ``infer`` behind ``pipeline``, in front of ``task``.

    ``infer`` gives all outputs; what a cart holds to ``distance`` and what the task reads of them, ``held`` says.
    """

    name: str
    digest: str
    engine: EngineRef
    manifest: Manifest
    pipeline: Pipeline
    task: Task
    judge: Judge
    infer: Infer
    sentry: Sentry | None = None
    distance: Distance | None = None

    def prepared(self, samples: Sequence[Sample], progress: Progress, *, sieve: Sieve | None = None) -> Prepared:
        """The samples through its own transforms; with a sieve, those that it lets pass.

        Raises:
            DataRejected, ConfigError, EvaluationFailed: as ``edgeai_workbench.prepared.prepare``.
        """
        source = self.manifest.input_specs()[0]
        guard = self.manifest.guard
        return prepare(
            samples,
            self.pipeline,
            input=source,
            judge=self.judge,
            guard=guard,
            sentry=self.sentry,
            sieve=sieve,
            progress=progress,
        )

    def held(self, *, withholds: bool = False) -> Held:
        """Inference of the task's own outputs, which measures how far images are, or withholds those that are far."""
        own = [spec.name for spec in self.manifest.task_outputs()]
        return Held(self.infer, own, self.distance, withholds=withholds)

    def answers(self, prepared: Prepared, progress: Progress) -> Answers:
        """What it says of them. Raises as ``answer``."""
        return self.asked(prepared, progress)[1]

    def asked(self, prepared: Prepared, progress: Progress) -> tuple[Prepared, Answers]:
        """The same, and the samples with those that its distance withholds. Raises as ``answer``."""
        held = self.held()
        answers = answer(replace(prepared, judge=self.judge), held, self.task, progress=progress)
        codes = kept_back(prepared, {self.name: held.far}).get(self.name)
        return (prepared if codes is None else replace(prepared, looked=tuple(codes))), answers

    def check_same_task(self, other: Contender) -> None:
        """Nothing, where both answer a question of the same kind.

        Raises:
            EvaluationFailed: ``evaluate.other-labels``.
        """
        one, two = (contender.manifest.task.name for contender in (self, other))
        if one != two:
            raise EvaluationFailed(
                f"one is of task {one}, the other of {two}",
                code="evaluate.other-labels",
                remedy="compare models of one task with the same labels",
            )

    def judged_as(self, other: Contender) -> Contender:
        """The same, as if it did not abstain where the other does not: their answers are then of one kind."""
        if isinstance(self.judge, AbstainingJudge) and not isinstance(other.judge, AbstainingJudge):
            return replace(self, judge=self.judge.plain)
        return self

    def same_transforms(self, other: Contender) -> bool:
        """Whether samples that are prepared for one are prepared for the other."""
        one, two = ((c.manifest.transforms, c.manifest.inputs, c.manifest.outputs) for c in (self, other))
        return one == two


@contextmanager
def open_contender(path: Path, wish: EngineWish, *, artifact: str | None = None) -> Iterator[Contender]:
    """Open a bundle on an engine, through ``open_model``, as a cart would.

    Args:
        path: a ``.edgeai`` file or an unpacked bundle.
        wish: where to run.
        artifact: this one alone; by default the one that a cart would take.

    Raises:
        ConfigError: ``evaluate.no-artifact``.
        EdgeaiError: as ``open_model``.
    """
    bundle = open_bundle(path)
    chosen = with_only(bundle, artifact) if artifact else bundle
    backends = (wish.backend,) if wish.backend else ()
    with open_model(chosen, backends=backends, device=wish.device, threads=wish.threads) as model:
        yield _contender(model, bundle.digest)


@contextmanager
def open_keras(path: Path, beside: Contender) -> Iterator[Contender]:
    """A ``.keras`` file with the transforms and the task of a bundle.

    Raises:
        BackendUnavailable: Keras is not installed.
        EdgeaiError: as the backend's ``open``.
    """
    registry = Registry.of([KERAS])
    for fault in registry.faults.values():
        raise fault
    backend = registry.backends[KERAS]
    if not backend.probe():
        raise BackendUnavailable(f"a .keras file cannot be run here: {backend.explain()}")
    device = backend.probe()[0].name
    manifest = beside.manifest
    outputs = manifest.task_outputs()
    session = backend.open(
        OpenRequest(artifact=path, device=device, inputs=manifest.input_specs(), outputs=outputs, threads=0)
    )

    def infer(inputs: Tensors) -> Tensors:
        given = session.run(inputs)
        check_tensors(outputs, given, what="output")
        return given

    try:
        yield Contender(
            name=path.name,
            digest="",
            engine=EngineRef(
                backend=KERAS, engine=backend.engine(), device=device, artifact=path.name, precision="fp32"
            ),
            manifest=manifest,
            pipeline=beside.pipeline,
            task=beside.task,
            judge=beside.judge,
            infer=infer,
            sentry=beside.sentry,
        )
    finally:
        session.close()


def samples_of(path: Path, root: Path, split: str = SPLITS[0]) -> tuple[tuple[Sample, ...], str]:
    """The samples that a bundle is judged on, and in words where they are from.

    The bundle's own card says where its tables are below ``root``; a folder without them is read as one sub-folder for
    each label, where the task's judge has a truth for it.

    Raises:
        ConfigError: ``build.no-judge``.
        DataRejected: ``data.file-missing`` and others of ``edgeai_workbench.dataset``; ``data.no-dataset``.
    """
    bundle = open_bundle(path)
    card = card_of(bundle)
    judge = _judge(bundle.manifest)
    if card is not None and card.dataset is not None:
        table = getattr(card.dataset, split)
        if table is None:
            raise ConfigError(
                f"the bundle's card has no [dataset.{split}]",
                code="evaluate.no-split",
                remedy="--split takes " + ", ".join(name for name in SPLITS if getattr(card.dataset, name) is not None),
            )
        if (root / table.table).is_file():
            return read_split(table, root, judge), f"{split} ({table.table})"
    if any((root / name).is_dir() for name in judge.folders):
        modality = next(iter(bundle.manifest.eligibility.modality), "")
        return read_folder(root, judge.folders, modality=modality), "one folder a label"
    raise DataRejected(
        f"{root}: has neither the tables of the bundle's card nor a folder for each label",
        code="data.no-dataset",
        remedy=_wanted(card, split, judge),
    )


def _contender(model: Model, digest: str) -> Contender:
    manifest = model.bundle.manifest
    return Contender(
        name=f"{manifest.name} {manifest.version}",
        digest=digest,
        engine=model.engine,
        manifest=manifest,
        pipeline=model.pipeline,
        task=model.task,
        judge=judge_behind(_judge(manifest), model.task, manifest.guard),
        infer=model.infer,
        sentry=model.sentry,
        distance=model.distance,
    )


def _judge(manifest: Manifest) -> Judge:
    return judge_by_plugins(manifest.plugins, manifest.task, manifest.task_outputs())


def with_only(bundle: Bundle, artifact: str) -> Bundle:
    """The bundle as if it had this artifact alone.

    Raises:
        ConfigError: ``evaluate.no-artifact``.
    """
    named = tuple(item for item in bundle.manifest.artifacts if item.id == artifact)
    if not named:
        known = ", ".join(item.id for item in bundle.manifest.artifacts)
        raise ConfigError(
            f"the bundle has no artifact {artifact!r}", code="evaluate.no-artifact", remedy=f"has: {known}"
        )
    manifest = msgspec.structs.replace(bundle.manifest, artifacts=named)
    return Bundle(manifest=manifest, digest=bundle.digest, root=bundle.root)


def card_of(bundle: Bundle) -> Card | None:
    """The card in the bundle; ``None`` where it has none, or one of another edgeai."""
    try:
        return read_card(bundle.root / CARD_NAME) if (bundle.root / CARD_NAME).is_file() else None
    except ConfigError:
        return None


def _wanted(card: Card | None, split: str, judge: Judge) -> str:
    folders = f"a folder for each of {', '.join(judge.folders)}" if judge.folders else "images"
    if card is None or card.dataset is None:
        return f"give --data a folder with {folders}"
    return f"give --data the folder that has {getattr(card.dataset, split).table}, or one with {folders}"

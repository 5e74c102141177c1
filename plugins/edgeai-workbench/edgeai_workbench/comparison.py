"""Every variant and artifact of a card beside its Keras parent: metrics, agreement, size, time and the gates.

Everything runs through the card's own transforms and task on the same samples; times are taken in turn, by one thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgeai import api
from edgeai.api import BackendSpec, OpenRequest, Options, Session, TensorSpec
from edgeai.api.judging import HIGHER
from edgeai.bundle.evidence import Bin, Load, Reliability, Step
from edgeai.model.measuring import Timing, interleaved
from edgeai.plugins import Registry
from edgeai.resolving import rank_of
from edgeai_workbench.answers import otherwise
from edgeai_workbench.card import FLOAT, PARENT
from edgeai_workbench.convert import ARTIFACTS, backend_of, bytes_of
from edgeai_workbench.defaults import Watched, constant
from edgeai_workbench.deviation import device_of
from edgeai_workbench.distances import Held, kept_back, most_kept, upper_share
from edgeai_workbench.evaluation import Answers, Score, Scores, agreement, drop, score
from edgeai_workbench.gate_keys import Gates
from edgeai_workbench.gates import Verdict, digest_of_folder, judge, margins_of, metrics_of
from edgeai_workbench.judged_rows import by_default, measured_of
from edgeai_workbench.load import watching
from edgeai_workbench.pack import Made
from edgeai_workbench.statistics import Gap, decided_of, difference_of
from edgeai_workbench.variants import ModelFile, step_of
from edgeai_workbench.workshop import Workshop

KERAS = "keras"
_NAMED = 20
"""Samples that are named, of those that a model decides otherwise than the parent."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its 95 % interval, found by ``method``."""

    value: float
    low: float
    high: float
    unit: str = ""
    better: str = HIGHER
    method: str = ""
    counted: int = 0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one engine.

    Attributes:
        id: ``parent``, a variant's name, or an artifact's id.
        bytes: of the ``.keras`` file or of the artifact's files.
        size_ratio: parent's ``.keras`` bytes / these bytes: above 1 is smaller.
        figures: metric -> value on the validation samples.
        drops: metric -> parent minus this, on the same samples.
        own_drops: the same, its own Keras model minus this; of the metrics that a gate asks for.
        decisions: metric of ``[gates.decision]`` -> parent minus this, with the interval that a proof asks for.
        parts: subgroup or label -> metric -> its value there.
        members: subgroup -> how many samples are of it.
        agreement: share of samples decided as the parent decides.
        ms: median time of one inference, one thread.
        speed_ratio: time of the reference / this time: above 1 is faster.
        worst: greatest difference from its own Keras model on the golden cases.
        layers: layer -> quantisation error.
        digest: of the ``.keras`` file or of the artifact's files.
        steps: what it was from the parent on, after each step of its making.
        undefined: metric -> why the samples do not determine it.
        reliability: what its probabilities were worth.
        otherwise: some of the samples that it decides otherwise than the parent.
        ms_low, ms_high: of its turns, the 5th and the 95th of a hundred.
        ended: code -> how many of the samples its task ended so, without a statement.
        withheld: the most that what stands before it may withhold of proper images, by these samples.
    """

    id: str
    variant: str
    backend: str
    device: str
    precision: str
    bytes: int
    size_ratio: float
    figures: dict[str, Figure]
    drops: dict[str, Figure]
    agreement: float
    ms: float
    speed_ratio: float
    ship: bool = False
    worst: float | None = None
    notes: tuple[str, ...] = ()
    facts: dict[str, float] = {}
    layers: dict[str, float] = {}
    own_drops: dict[str, Figure] = {}
    decisions: dict[str, Figure] = {}
    parts: dict[str, dict[str, Figure]] = {}
    members: dict[str, int] = {}
    verdicts: tuple[Verdict, ...] = ()
    digest: str = ""
    steps: tuple[Step, ...] = ()
    undefined: dict[str, str] = {}
    reliability: tuple[Reliability, ...] = ()
    otherwise: tuple[str, ...] = ()
    ms_low: float = math.nan
    ms_high: float = math.nan
    ended: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    withheld: float = math.nan


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All rows, the parent's first. ``reference`` is the row that times are held against.

    ``constant``: the parent gave all samples the same answer. ``units`` are what resamples draw, 0 where they are the
    samples. ``load``: of the machine while times were taken. ``split``: of which the samples are. ``near``: a line for
    each of them that is nearly an image of train. ``withheld``: as of a ``Trial``.
    """

    rows: tuple[Row, ...]
    samples: int
    main: str
    reference: str
    constant: bool = False
    units: int = 0
    load: Load | None = None
    split: str = "validation"
    near: tuple[str, ...] = ()
    withheld: dict[str, int] | None = None

    def verdicts(self) -> dict[str, tuple[Verdict, ...]]:
        """Of the artifacts that ship."""
        return {row.id: row.verdicts for row in self.rows if row.ship}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A comparison with the answers it came from, for the report's pictures."""

    comparison: Comparison
    answers: Mapping[str, Answers]
    scores: Mapping[str, Scores]


def compare(
    shop: Workshop, models: Sequence[ModelFile], made: Sequence[Made], *, progress: Callable[[str], None]
) -> Compared:
    """Open every model and artifact, ask each of every validation sample, time them in turn, hold the gates.

    Args:
        shop: the card, with its validation samples.
        models: the parent first.
        made: every artifact of the recipes.
        progress: told what is being done.

    Raises:
        EdgeaiError: one of them cannot be opened or run.
    """
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        for model in models:
            sessions[model.variant] = opened(stack, shop, shop.registry.backends[KERAS], model.path, {}, model.added)
        for one in made:
            path = shop.folder / ARTIFACTS / one.artifact.id / one.artifact.path
            backend = backend_of(shop.registry, one.artifact.format)
            sessions[one.artifact.id] = opened(stack, shop, backend, path, one.artifact.options, one.model.added)
        answers = {}
        distances = {one.artifact.id: one.distance for one in made}
        own = [spec.name for spec in shop.outputs]
        held = {name: Held(session.run, own, distances.get(name)) for name, session in sessions.items()}
        watched = {name: Watched(held[name]) for name in sessions}
        for number, name in enumerate(sessions, 1):
            progress(f"asking {name} ({number} of {len(sessions)}) of {_count(shop)} samples")
            answers[name] = shop.answers(watched[name])
        progress("timing all in turn, one thread each")
        inputs = models[0].golden[0].inputs
        with watching() as machine:
            times = interleaved({name: lambda s=session: s.run(inputs) for name, session in sessions.items()})  # type: ignore[misc]
    progress("intervals")
    scores = {name: _scores(shop, one) for name, one in answers.items()} if _judged(shop) else {}
    reference = _reference(made, shop.registry)
    assert shop.validation is not None
    kept = kept_back(shop.validation, {name: one.far for name, one in held.items()})
    table = _Table(shop, models[0], answers, scores, times, reference, kept)
    rows = [*(table.of_model(model) for model in models), *(table.of_artifact(one) for one in made)]
    main = scores[PARENT].main if scores else ""
    if shop.card.gates == Gates():
        rows = [by_default(row, watched, main) for row in rows]
    comparison = Comparison(
        rows=tuple(rows),
        samples=_count(shop),
        main=main,
        reference=reference,
        constant=constant(watched[PARENT]),
        units=scores[PARENT].drawn if scores else 0,
        load=machine.load,
        withheld=shop.validation.withheld if not kept else most_kept(kept),
    )
    return Compared(comparison=comparison, answers=answers, scores=scores)


class _Table:
    """Puts together the row of one model or artifact."""

    def __init__(
        self,
        shop: Workshop,
        parent: ModelFile,
        answers: Mapping[str, Answers],
        scores: Mapping[str, Scores],
        times: Mapping[str, Timing],
        reference: str,
        kept: Mapping[str, Sequence[str]],
    ) -> None:
        self._shop = shop
        self._kept = kept
        self._parent = step_of(PARENT, parent.path, shop.registry.backends[KERAS])
        self._answers = answers
        self._scores = scores
        self._times = times
        self._reference = reference

    def of_model(self, model: ModelFile) -> Row:
        return Row(
            **self._common(model.variant, model.variant, model.path.stat().st_size),
            variant=model.variant,
            backend=KERAS,
            device="CPU",
            precision="fp32",
            notes=model.notes,
            facts=dict(model.facts),
            digest=model.digest,
            steps=(self._parent, *model.steps),
        )

    def of_artifact(self, made: Made) -> Row:
        artifact = made.artifact
        row = Row(
            **self._common(artifact.id, made.model.variant, bytes_of(artifact, self._shop.folder)),
            variant=made.model.variant,
            backend=made.deviation.backend,
            device=made.deviation.device,
            precision=artifact.precision,
            ship=any(recipe.id == artifact.id for recipe in self._shop.card.shipped),
            worst=made.deviation.worst,
            notes=artifact.notes,
            layers=artifact.layers,
            digest=digest_of_folder(self._shop.folder / ARTIFACTS / artifact.id),
            steps=self._converted(made),
            withheld=upper_share(self._shop.validation, self._kept.get(artifact.id)),
        )
        return msgspec.structs.replace(row, verdicts=judge(self._shop.card.gates, measured_of(row)))

    def _converted(self, made: Made) -> tuple[Step, ...]:
        steps = (self._parent, *made.model.steps)
        size = bytes_of(made.artifact, self._shop.folder)
        return (*steps, msgspec.structs.replace(steps[-1], name=f"to {made.artifact.id}", bytes=size))

    def _drops(
        self, start: str, name: str, metrics: Iterable[str], by: Callable[..., Gap] = difference_of
    ) -> dict[str, Figure]:
        """Metric -> how much worse one is than the model that it began from."""
        validation = self._shop.validation
        assert validation is not None
        scores: Mapping[str, Score] = self._scores.get(name, {})
        return {
            metric: _figure(drop(validation, self._answers[start], self._answers[name], metric, by=by))
            for metric in dict.fromkeys(metrics)
            if metric in scores
        }

    def _common(self, name: str, variant: str, size: int) -> dict[str, Any]:
        parent, own = self._answers[PARENT], self._answers[name]
        validation = self._shop.validation
        assert validation is not None
        scores = self._scores.get(name)
        gates = self._shop.card.gates
        drops = self._drops(PARENT, name, [scores.main, *gates.max_drop]) if scores else {}
        return {
            "id": name,
            "bytes": size,
            "size_ratio": self._parent.bytes / size,
            "figures": {metric: _figure(scored) for metric, scored in scores.items()} if scores else {},
            "drops": drops,
            "own_drops": self._drops(variant, name, gates.max_drop_own) if scores else {},
            "decisions": self._drops(PARENT, name, margins_of(gates), decided_of) if scores else {},
            "parts": _parts(scores) if scores else {},
            "members": {part: scored.n for part, scored in scores.subgroups.items()} if scores else {},
            "agreement": agreement(parent, own, validation.judge),
            "undefined": dict(scores.undefined) if scores else {},
            "reliability": tuple(reliability_of(each) for each in scores.reliability) if scores else (),
            "ended": dict(own.ended) or msgspec.UNSET,
            "otherwise": otherwise(parent, own, validation.judge, _NAMED),
            "ms": self._times[name].median_ms,
            "ms_low": self._times[name].p5_ms,
            "ms_high": self._times[name].p95_ms,
            "speed_ratio": self._times[self._reference].median_ms / self._times[name].median_ms,
        }


def judged_digests(shop: Workshop, made: Iterable[Made]) -> dict[str, str]:
    """Artifact id -> digest of its files, for those that ship."""
    ids = {recipe.id for recipe in shop.card.shipped}
    return {
        one.artifact.id: digest_of_folder(shop.folder / ARTIFACTS / one.artifact.id)
        for one in made
        if one.artifact.id in ids
    }


def _parts(scores: Scores) -> dict[str, dict[str, Figure]]:
    """Subgroups, each with its intervals, and labels, each against the rest."""
    parts = {name: {m: _figure(scored) for m, scored in part.items()} for name, part in scores.subgroups.items()}
    for label, values in scores.by_label.items():
        parts[f"label {label}"] = {m: Figure(value=value, low=math.nan, high=math.nan) for m, value in values.items()}
    return parts


def opened(
    stack: ExitStack,
    shop: Workshop,
    backend: BackendSpec,
    path: Path,
    options: Options,
    added: Sequence[TensorSpec] = (),
) -> Session:
    """A model open on one thread of its engine, until ``stack`` ends. Raises as ``BackendSpec.open``."""
    request = OpenRequest(
        artifact=path,
        device=device_of(backend),
        inputs=shop.inputs,
        outputs=(*shop.outputs, *added),
        threads=1,
        options=options,
    )
    return stack.enter_context(closing(backend.open(request)))


def _reference(made: Sequence[Made], registry: Registry) -> str:
    """The parent in fp32 on the engine of the lowest rank, else the Keras parent itself."""
    plain = [one.artifact for one in made if one.model.variant == PARENT and one.artifact.precision == FLOAT[0]]
    plain.sort(key=lambda artifact: rank_of(backend_of(registry, artifact.format)))
    return plain[0].id if plain else PARENT


def _judged(shop: Workshop) -> bool:
    """Whether anyone says what is true of the samples."""
    return shop.validation is not None and shop.validation.known


def _scores(shop: Workshop, answers: Answers) -> Scores:
    assert shop.validation is not None
    return score(shop.validation, answers, points=metrics_of(shop.card.gates))


def _figure(scored: Score) -> Figure:
    return Figure(
        value=scored.value,
        low=scored.low,
        high=scored.high,
        unit=scored.unit,
        better=scored.better,
        method=scored.method,
        counted=scored.counted,
    )


def reliability_of(reliability: api.Reliability) -> Reliability:
    """What a judge says of probabilities, as evidence has it."""
    bins = tuple(Bin(said=each.said, happened=each.happened, samples=each.samples) for each in reliability.bins)
    return Reliability(name=reliability.name, error=reliability.error, bins=bins)


def _count(shop: Workshop) -> int:
    assert shop.validation is not None
    return len(shop.validation.samples)

"""The whole stress set asked of each artifact of a bundle, counted, and held to the card's bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeai.api import Array, Judge
from edgeai.bundle.reader import Bundle
from edgeai.model import Model, open_model
from edgeai_workbench.contenders import EngineWish, with_only
from edgeai_workbench.dataset import Sample
from edgeai_workbench.gates import Verdict
from edgeai_workbench.judges import judge_by_plugins
from edgeai_workbench.robustness import Part
from edgeai_workbench.robustness.frames import Distorted
from edgeai_workbench.statistics.shares import quantile, wilson
from edgeai_workbench.stress.asking import Reply, ask, stands
from edgeai_workbench.stress.images import SEED, Kind, kinds_of
from edgeai_workbench.stress.results import Row, Stress
from edgeai_workbench.stress.settings import StressUse

LEVEL: Final = 0.95
_SHOWN: Final = 2
"""Images of a kind that are kept for the report's picture."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Through:
    """A wrong image that got a statement: the pixels of its source."""

    kind: str
    name: str
    pixels: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """What was counted; and of the first artifact some of what it let through."""

    stress: Stress
    through: tuple[Through, ...]


def measure(
    bundle: Bundle,
    use: StressUse,
    own: Sequence[Sample],
    root: Path,
    *,
    artifacts: Sequence[str] = (),
    wish: EngineWish | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Measured:
    """Ask each artifact by itself, through ``open_model``, as a cart would.

    Args:
        bundle: packed, and open.
        use: what is asked for.
        own: images that the model is for: of validation, and of no test.
        root: the data's folder.
        artifacts: ids; by default all.
        wish: where to run; by default on one thread of the artifact's engine.
        progress: told how far it is, in per cent.

    Raises:
        DataRejected: a table of ``use`` that cannot be read.
        EvaluationFailed: a model fails, and not because of the image.
        EdgeaiError: as ``open_model``.
    """
    manifest = bundle.manifest
    wrong, kept = kinds_of(use, own, root, manifest.eligibility)
    judge = judge_by_plugins(manifest.plugins, manifest.task, manifest.task_outputs())
    wish = wish or EngineWish(threads=1)
    ids = artifacts or tuple(each.id for each in manifest.artifacts)
    rows: list[Row] = []
    through: list[Through] = []
    told = _told(progress, len(ids) * (len(wrong) + len(kept)))
    for number, artifact in enumerate(ids):
        backends = (wish.backend,) if wish.backend else ()
        alone = with_only(bundle, artifact)
        with open_model(alone, backends=backends, device=wish.device, threads=wish.threads) as model:
            asked = _Asked(model=model, judge=judge, through=[] if number else through, told=told)
            rows += [*(asked.of_wrong(kind) for kind in wrong), *asked.of_own(kept)]
    return Measured(stress=Stress(samples=use.samples, seed=SEED, rows=tuple(rows)), through=tuple(through))


def verdicts_of(stress: Stress, model: str) -> tuple[Verdict, ...]:
    """The card's bounds, of one artifact."""
    return tuple(
        Verdict(gate=f"min_withheld.{row.kind}", bound=row.min_withheld, found=row.held_to.value, holds=row.holds)
        for row in stress.rows
        if row.model == model and row.min_withheld is not None
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """One artifact, open; ``through`` takes what it lets through."""

    model: Model
    judge: Judge
    through: list[Through]
    told: Iterator[None]

    def of_wrong(self, kind: Kind) -> Row:
        """Images that nothing is true of."""
        replies = []
        for sample in kind.samples:
            frame = sample.load()[0]
            replies.append(ask(self.model, frame, name=sample.id))
            self._keep(kind, sample, frame.pixels, let=not replies[-1].code)
        return self._row(kind, replies)

    def of_own(self, kinds: Sequence[Kind]) -> Iterator[Row]:
        """Its own, first as they are."""
        before: list[Reply] = []
        for kind in kinds:
            replies, stood = [], []
            for place, sample in enumerate(kind.samples):
                arrived = kind.change(sample) if kind.change is not None else Distorted(frame=sample.load()[0])
                replies.append(ask(self.model, arrived.frame, name=sample.id, judge=self.judge))
                if kind.change is not None:
                    stood.append(stands(self.judge, sample, arrived, before[place], replies[-1]))
                    self._keep(kind, sample, arrived.frame.pixels, let=stood[-1] is False)
            before = before or replies
            yield self._row(kind, replies, stood)

    def _row(self, kind: Kind, replies: Sequence[Reply], stood: Sequence[bool | None] = ()) -> Row:
        next(self.told, None)
        units = len({sample.group or sample.id for sample in kind.samples})
        codes = Counter(reply.code for reply in replies if reply.code)
        known = [each for each in stood if each is not None]
        return Row(
            kind=kind.name,
            says=kind.says,
            model=self.model.engine.artifact,
            samples=len(replies),
            withheld=_share([bool(reply.code) for reply in replies], units),
            codes=dict(sorted(codes.items())),
            kept=_share(known, units) if known and len(known) == len(stood) else None,
            min_withheld=kind.min_withheld,
        )

    def _keep(self, kind: Kind, sample: Sample, pixels: Array, *, let: bool) -> None:
        if let and sum(each.kind == kind.name for each in self.through) < _SHOWN:
            self.through.append(Through(kind=kind.name, name=sample.id, pixels=pixels))


def _share(hits: Sequence[bool], units: int) -> Part:
    """With Wilson's interval; images of a group count as one."""
    value = sum(hits) / len(hits)
    low, high = wilson(value, units, quantile(LEVEL))
    return Part(value=value, low=low, high=high, method="Wilson")


def _told(progress: Callable[[str], None], steps: int) -> Iterator[None]:
    for step in range(1, steps + 1):
        progress(f"wrong images: {100 * step // steps} %")
        yield

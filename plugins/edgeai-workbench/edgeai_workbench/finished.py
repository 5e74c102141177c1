"""Evidence of finished models: what ``edgeai evaluate`` and ``edgeai compare`` found, in the form of a build's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from edgeai.api import HIGHER, LOWER
from edgeai.bundle.evidence import Candidate, Estimate, Evidence, Reliability, Trial
from edgeai_workbench.comparison import reliability_of
from edgeai_workbench.contenders import Contender
from edgeai_workbench.dataset import digest
from edgeai_workbench.evaluation import Comparison, Score, Scores
from edgeai_workbench.evidence import machine
from edgeai_workbench.prepared import Prepared

FOLDER = "folder"


def split_of(asked: str, source: str) -> str:
    """The split of the card's table that was read; ``folder`` where a folder said what is true, which is no split."""
    return asked if source.startswith(f"{asked} (") else FOLDER


def evidence_of_scores(
    contender: Contender, scores: Scores, prepared: Prepared, *, split: str, ended: Mapping[str, int]
) -> Evidence:
    """One model on one split; ``ended`` counts, by code, of how many samples its task makes no statement."""
    by_label = {
        f"label {name}": {m: Estimate(value=v) for m, v in each.items()} for name, each in scores.by_label.items()
    }
    judged = msgspec.structs.replace(
        _candidate(contender),
        figures=_estimates(scores),
        undefined=dict(scores.undefined),
        parts={**{name: _estimates(part) for name, part in scores.subgroups.items()}, **by_label},
        reliability=tuple(_plain(reliability_of(each)) for each in scores.reliability),
        ended=dict(ended) or msgspec.UNSET,
    )
    trial = Trial(
        split=split,
        role="judged",
        samples=scores.n,
        units=scores.drawn,
        main=scores.main,
        models=(judged,),
        data=digest(prepared.samples, contender.judge),
        part_samples={name: part.n for name, part in scores.subgroups.items()},
        withheld=prepared.withheld,
    )
    return _evidence(contender, trial, command="edgeai evaluate")


def evidence_of_two(
    one: Contender, other: Contender, comparison: Comparison, prepared: Prepared, *, split: str
) -> Evidence:
    """Two models side by side: the first stands where a build has the parent, and drops are from it."""
    values = comparison.differences.items()
    first = msgspec.structs.replace(
        _candidate(one), figures={name: _value(each.one, each.difference) for name, each in values}
    )
    second = msgspec.structs.replace(
        _candidate(other),
        figures={name: _value(each.other, each.difference) for name, each in values},
        drops={name: _drop(each.difference) for name, each in values},
        agreement=comparison.agreement,
    )
    trial = Trial(
        split=split,
        role="judged",
        samples=comparison.n,
        units=comparison.drawn,
        main=comparison.main,
        models=(first, second),
        data=digest(prepared.samples, one.judge),
    )
    return _evidence(one, trial, command="edgeai compare")


def _evidence(contender: Contender, trial: Trial, *, command: str) -> Evidence:
    manifest = contender.manifest
    return Evidence(
        model=manifest.name,
        version=manifest.version,
        task=manifest.task.name,
        digest=contender.digest,
        command=command,
        trials=(trial,),
        machine=machine(None),
    )


def _candidate(contender: Contender) -> Candidate:
    engine = contender.engine
    return Candidate(
        id=engine.artifact,
        backend=engine.backend,
        device=engine.device,
        precision=engine.precision,
        digest=contender.digest,
    )


def _estimates(scores: Mapping[str, Score]) -> dict[str, Estimate]:
    return {name: _plain(_estimate(score)) for name, score in scores.items()}


def _estimate(score: Score) -> Estimate:
    return Estimate(
        value=score.value, low=score.low, high=score.high, unit=score.unit, better=score.better, method=score.method
    )


def _value(value: float, like: Score) -> Estimate:
    return _plain(Estimate(value=value, unit=like.unit, better=like.better))


def _drop(gap: Score) -> Estimate:
    """How much worse the second is: B minus A says it of what is better low, and its reverse of the rest."""
    ends: Sequence[float] = (gap.value, gap.low, gap.high)
    value, low, high = ends if gap.better != HIGHER else (-gap.value, -gap.high, -gap.low)
    return _plain(Estimate(value=value, low=low, high=high, unit=gap.unit, better=LOWER, method=gap.method))


Record = TypeVar("Record", Estimate, Reliability)


def _plain(given: Record) -> Record:
    """What samples do not determine (NaN) becomes ``None`` on the way through JSON."""
    return msgspec.json.decode(msgspec.json.encode(given), type=type(given))

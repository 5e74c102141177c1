"""How a build fits the quantiles of ``[guard.abstention]``: on validation, by what ships; the test is not asked.

Each artifact that ships is asked, and the largest of their quantiles holds for all of them. What is true of a sample
must be one answer; others do not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import msgspec

from edgeai.api import Case, DataRejected
from edgeai.bundle.uses import AbstentionUse
from edgeai_workbench.abstaining import AbstainingJudge, Weighed
from edgeai_workbench.comparison import judged_digests, opened
from edgeai_workbench.convert import ARTIFACTS, backend_of
from edgeai_workbench.dataset import digest
from edgeai_workbench.distances import Held
from edgeai_workbench.fitted_quantiles import ABSTENTION, Fitted
from edgeai_workbench.notes import write_note
from edgeai_workbench.pack import Made
from edgeai_workbench.quantiles import quantile_of, units_for
from edgeai_workbench.workshop import Workshop

Strangeness = Mapping[str, Mapping[str, Sequence[float]]]
"""Group -> unit -> how strange what is true of each of its samples is."""


def fit(shop: Workshop, made: Sequence[Made], *, progress: Callable[[str], None]) -> Workshop:
    """The workshop with the quantiles, which are written down; the same where the card does not abstain.

    Raises:
        DataRejected: ``data.abstention-few``.
        EdgeaiError: an artifact that cannot be opened or asked.
    """
    judge, validation = shop.judge, shop.validation
    if not isinstance(judge, AbstainingJudge):
        return shop
    assert validation is not None
    ships = {recipe.id for recipe in shop.card.shipped}
    cases, units = validation.cases(), [sample.group or sample.id for sample in validation.samples]
    hold_answers(cases, judge, judge.labels)
    own = [spec.name for spec in shop.outputs]
    each: list[Strangeness] = []
    for one in made:
        if one.artifact.id not in ships:
            continue
        progress(f"abstention: asking {one.artifact.id} of {len(cases)} samples of validation")
        with ExitStack() as stack:
            path = shop.folder / ARTIFACTS / one.artifact.id / one.artifact.path
            backend = backend_of(shop.registry, one.artifact.format)
            session = opened(stack, shop, backend, path, one.artifact.options, one.model.added)
            answers = shop.answers(Held(session.run, own, None))
        each.append(strangeness_of(cases, answers.each, units, judge))
    use = largest([fitted(judge.use, strangeness) for strangeness in each])
    groups = {group: len(of) for group, of in each[0].items()}
    write_note(
        shop.folder / ABSTENTION,
        Fitted(
            risk=use.risk,
            by=use.by,
            quantile=use.quantile,
            quantiles=use.quantiles,
            samples=sum(len(samples) for of in each[0].values() for samples in of.values()),
            units=len({unit for of in each[0].values() for unit in of}),
            groups=groups if use.by is not None else {},
            data=digest(validation.samples, judge),
            artifacts=judged_digests(shop, made),
        ),
    )
    return shop.with_judge(judge.with_use(use))


def hold_answers(cases: Sequence[Case], judge: AbstainingJudge, labels: Sequence[str]) -> None:
    """Nothing, where validation has a sample of each label: of one without, nothing is known of how strange it is.

    Raises:
        DataRejected: ``data.abstention-few``.
    """
    true = {judge.true_answer(case) for case in cases}
    if lacking := [label for label in labels if label not in true]:
        raise DataRejected(
            f"[guard.abstention]: validation has no sample of which {lacking[0]} is what is true",
            code="data.abstention-few",
            remedy="give [dataset.validation] samples of each label, or take [guard.abstention] out of the card",
        )


def strangeness_of(
    cases: Sequence[Case], answers: Sequence[Weighed], units: Sequence[str], judge: AbstainingJudge
) -> Strangeness:
    """How strange what is true of each sample is to one model; samples of which no one answer is true are left out."""
    strangeness: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for case, answer, unit in zip(cases, answers, units, strict=True):
        true = judge.true_answer(case)
        if true is not None and answer.alternatives is not None:
            strangeness[answer.group][unit].append(answer.alternatives.strangeness[true])
    return {group: dict(of) for group, of in sorted(strangeness.items())}


def fitted(use: AbstentionUse, strangeness: Strangeness) -> AbstentionUse:
    """The use with its quantiles: one of all, or one for each group, of which the largest is for others.

    Raises:
        DataRejected: ``data.abstention-few``: of so few units there is none at this risk; it says how many it takes.
    """
    quantiles = dict(_quantiles(use, strangeness or {"": {}}))
    known = {group: quantile for group, quantile in quantiles.items() if group}
    return msgspec.structs.replace(use, quantile=max(quantiles.values()), quantiles=known if use.by is not None else {})


def _quantiles(use: AbstentionUse, strangeness: Strangeness) -> Iterator[tuple[str, float]]:
    for group, of in strangeness.items():
        quantile = quantile_of(of, use.risk)
        if quantile is None:
            among = f" of {use.by} {group or 'not stated'}" if use.by is not None else ""
            raise DataRejected(
                f"[guard.abstention]: validation has {len(of)} units{among}, and a risk of {use.risk:g} takes "
                f"{units_for(use.risk)} at least",
                code="data.abstention-few",
                remedy="more patients in [dataset.validation], a larger risk, or no `by`",
            )
        yield group, quantile


def largest(uses: Sequence[AbstentionUse]) -> AbstentionUse:
    """The one whose sets hold at least what those of each of them hold."""
    first = uses[0]
    return msgspec.structs.replace(
        first,
        quantile=max(use.quantile for use in uses),
        quantiles={group: max(use.quantiles[group] for use in uses) for group in first.quantiles},
    )

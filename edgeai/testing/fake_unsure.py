"""A task without a library that makes no statement of what is unclear: one works, some must be caught."""

from __future__ import annotations

from itertools import count

from edgeai.api import (
    Alternatives,
    Findings,
    FrameContext,
    GuardFigure,
    Indeterminate,
    OptionSpec,
    TaskRequest,
    TaskSpec,
    Tensors,
)
from edgeai.testing.fake_parts import FakeClassify

ENOUGH = 0.01
"""Where no label reaches that, it makes no statement."""

WAYS = ("uncoded", "others-code", "drifts", "alone", "forgets-in-summary")
"""Each is a way to be wrong."""

_CODES = {"uncoded": "Unclear", "others-code": "requires.not-met"}


class FakeUnsure(FakeClassify):
    """Ends a frame of which nothing is likely, and says of others what else they could be."""

    def __init__(self, request: TaskRequest, how: str = "") -> None:
        super().__init__(request)
        self._way, self._calls = how, count()

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        """As ``FakeClassify``, where a label reaches ``ENOUGH``."""
        findings = super().interpret(outputs, context)
        most = max(finding.probability or 0.0 for finding in findings)
        if most < ENOUGH:
            figure = GuardFigure(check="fake", name="most", value=most, threshold=ENOUGH, withheld=True)
            raise Indeterminate("nothing is likely", code=_CODES.get(self._way, "fake.unclear"), figures=(figure,))
        return findings

    def alternatives(self, findings: Findings) -> Alternatives:
        """Each label, as strange as it is improbable."""
        strangeness = {finding.label: 1.0 - (finding.probability or 0.0) for finding in findings}
        if self._way == "drifts":
            strangeness = {label: strange + next(self._calls) for label, strange in strangeness.items()}
        if self._way == "alone" or (self._way == "forgets-in-summary" and findings[0].frame_number is None):
            strangeness = dict(list(strangeness.items())[:1])
        return Alternatives(strangeness=strangeness)


def task(name: str, how: str = "") -> TaskSpec:
    """The task that works, or one that is wrong in one of ``WAYS``."""
    return TaskSpec(
        name=name,
        build=lambda request: FakeUnsure(request, how),
        options=(OptionSpec(name="labels", help="One word for each output value.", required=True),),
        help=f"Says for each label whether its value reaches one half, where one is likely; {how or 'works'}.",
    )

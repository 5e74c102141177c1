"""Where a bundle abstains: what the model answers is stated only where one answer alone is left at a risk.

Split conformal prediction (Papadopoulos et al. 2002; Vovk, Gammerman and Shafer 2005): an answer is left where it is no
stranger than the quantile that the build took of what is true of samples. The set of those holds what is true for all
but the risk. A set of one is a statement, if the task states that one; any other is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeai.api.endings import Indeterminate
from edgeai.api.errors import BundleRejected
from edgeai.api.results import GuardFigure

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeai.api.instances import InstanceRef
    from edgeai.api.results import Findings
    from edgeai.api.specs import Alternatives, Task
    from edgeai.bundle.uses import AbstentionUse, GuardUse

CHECK: Final = "abstention"
ABSTAINED: Final = "guard.abstained"
_REMEDY: Final = "judge the image without the model"


def group_of(use: AbstentionUse, instance: InstanceRef) -> str:
    """The value of the attribute that it goes by; empty where it goes by none, or the header lacks it."""
    return str(getattr(instance, use.by)) if use.by is not None else ""


def left_of(alternatives: Alternatives, quantile: float) -> tuple[str, ...]:
    """The answers that are no stranger than that."""
    return tuple(answer for answer, strange in alternatives.strangeness.items() if strange <= quantile)


class Abstention:
    """Holds the findings of single frames, and what is stated of all of them together.

    Args:
        use: as the manifest has it.
        alternatives: of the task.
    """

    def __init__(self, use: AbstentionUse, alternatives: Callable[[Findings], Alternatives]) -> None:
        self._use = use
        self._alternatives = alternatives

    @classmethod
    def of(cls, guard: GuardUse | None, task: Task) -> Abstention | None:
        """That of a bundle; ``None`` where it has none.

        Raises:
            BundleRejected: ``bundle.not-honoured``: its task does not say what else it could have answered.
        """
        if guard is None or guard.abstention is None:
            return None
        alternatives = getattr(task, "alternatives", None)
        if alternatives is None:
            raise BundleRejected(
                "it abstains, and its task does not say what else it could have answered (alternatives)",
                code="bundle.not-honoured",
                remedy="update the task's plugin, or deploy a bundle without [guard.abstention]",
            )
        return cls(guard.abstention, alternatives)

    def hold(self, findings: Findings, instance: InstanceRef) -> tuple[GuardFigure, ...]:
        """The figures of a frame that gets a statement.

        Args:
            findings: as ``interpret`` gave them.
            instance: whose.

        Raises:
            Indeterminate: ``guard.abstained``, with the figures: it gets none.
            TaskFailed: as ``AbstainingTask.alternatives``.
        """
        use, given = self._use, self._alternatives(findings)
        quantile = use.quantiles.get(group_of(use, instance), use.quantile)
        left = left_of(given, quantile)
        is_stated = left == (given.stated,)
        strange = given.strangeness.get(given.stated)
        figures = [_figure("answers left", len(left), 1.0, len(left) != 1)]
        if strange is not None:
            figures.append(_figure("strangeness of what is stated", strange, quantile, strange > quantile))
        if is_stated:
            return tuple(figures)
        raise Indeterminate(
            f"{_why(left, given.stated)} at a risk of {use.risk:g}",
            code=ABSTAINED,
            figures=tuple(figures),
            remedy=_REMEDY,
        )

    def hold_all(self, findings: Findings, instance: InstanceRef) -> Findings:
        """What is stated of the whole instance: frames that are each one answer alone may contradict one another.

        Args:
            findings: as ``summarise`` gave them; those of single frames among them were held.
            instance: whose.

        Raises:
            Indeterminate, TaskFailed: as ``hold``.
        """
        whole = tuple(finding for finding in findings if finding.frame_number is None)
        if whole:
            self.hold(whole, instance)
        return findings


def _figure(name: str, value: float, bound: float, withheld: bool) -> GuardFigure:
    return GuardFigure(check=CHECK, name=name, value=float(value), threshold=bound, withheld=withheld)


def _why(left: tuple[str, ...], stated: str) -> str:
    if not left:
        return "no answer is likely enough"
    if len(left) > 1:
        return f"{', '.join(left[:-1])} and {left[-1]} cannot be told apart"
    return f"{left[0]} alone is left, and {stated or 'nothing'} would be stated"

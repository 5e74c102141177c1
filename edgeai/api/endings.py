"""How a task ends a frame or an instance on purpose without a statement (since 1.4).

Neither is a failure, and neither is a negative: nothing is stated, with a code and the figures that say why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from edgeai.api.errors import EdgeaiError
from edgeai.api.results import Outcome

if TYPE_CHECKING:
    from edgeai.api.results import GuardFigure


class NoStatement(EdgeaiError):
    """Raise one of the two below from ``Task.interpret``, of a frame, or from ``Task.summarise``, of the instance.

    A narrower code is of the area ``task``, or of one of the plugin's own: ``acme.no-length``. Areas that edgeai uses
    for something else (``docs/reference/errors.md``) are refused, as ``plugin.contract``.

    Attributes:
        figures: what was measured, finite, with its bounds; ``withheld`` is set in those that decided.
    """

    outcome: ClassVar[Outcome] = Outcome.INDETERMINATE
    default_code = "task.indeterminate"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        remedy: str | None = None,
        figures: tuple[GuardFigure, ...] = (),
    ) -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.figures = tuple(figures)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), str(self), self.code, self.remedy, self.figures))


def _rebuild(
    kind: type[NoStatement], message: str, code: str, remedy: str | None, figures: tuple[GuardFigure, ...]
) -> NoStatement:
    return kind(message, code=code, remedy=remedy, figures=figures)


class NotApplicable(NoStatement):
    """The instance is sound, and not what the model is meant for."""

    outcome = Outcome.NOT_APPLICABLE
    default_code = "task.not-applicable"


class Indeterminate(NoStatement):
    """The model ran, and what it answers is not enough for a statement."""

"""What keeps a model from being asked: an image that it is not meant for, or one that shows nothing."""

from __future__ import annotations

from edgeai.api.errors import InputRejected
from edgeai.api.results import GuardFigure


class NotApplicable(InputRejected):
    """The instance is sound, and not what the model is meant for."""


class Withheld(NotApplicable):
    """What stands before the model does not let a frame pass; ``figures`` say why."""

    def __init__(self, message: str, *, code: str, figures: tuple[GuardFigure, ...], remedy: str | None = None) -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.figures = figures

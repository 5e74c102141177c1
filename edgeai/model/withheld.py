"""What keeps a model from being asked: an image that shows nothing, or not what the model is meant for."""

from __future__ import annotations

from edgeai.api.endings import NotApplicable
from edgeai.api.results import GuardFigure


class Withheld(NotApplicable):
    """What stands before the model does not let a frame pass; ``figures`` say why."""

    def __init__(self, message: str, *, code: str, figures: tuple[GuardFigure, ...], remedy: str | None = None) -> None:
        super().__init__(message, code=code, figures=figures, remedy=remedy)

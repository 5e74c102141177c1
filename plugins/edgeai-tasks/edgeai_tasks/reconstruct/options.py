"""The options of reconstruct, read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from edgeai.api import Options, OptionSpec, TaskFailed
from edgeai_tasks.reading import Label, Reader

ERRORS: Final = ("absolute", "squared")

OPTIONS: tuple[OptionSpec, ...] = (
    OptionSpec(
        name="labels",
        default=["usual", "unusual"],
        help="what is called so of which the network was trained, and what is called otherwise: two, each a word, or "
        "{label, concept: {code, scheme, meaning}}",
    ),
    OptionSpec(
        name="error",
        default=ERRORS[0],
        choices=ERRORS,
        help="how far a pixel is from its reconstruction: the distance, or its square; training minimises the same",
    ),
    OptionSpec(
        name="smooth_px",
        default=1,
        help="side of a square of the model's pixels, an odd number, over which errors are averaged: what is off by "
        "itself counts less than what lies together",
    ),
    OptionSpec(
        name="part",
        default=1.0,
        help="the score is the mean of so large a part of the errors, the largest: 1 is all, 0.01 the worst hundredth",
    ),
    OptionSpec(
        name="threshold",
        help="the greatest score of what is usual; [choice] chooses it. Without, nothing is stated",
    ),
    OptionSpec(name="per_frame", default=False, help="whether the result lists each frame's findings too"),
    OptionSpec(name="output", help="which output of the model; needed where it has several"),
)

_READ = Reader("reconstruct", OPTIONS)


def refused(name: str, why: str) -> TaskFailed:
    """The error for an option that makes no sense."""
    return _READ.refused(name, why)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructOptions:
    """What the manifest says about an autoencoder."""

    labels: tuple[Label, ...]
    error: str
    smooth_px: int
    part: float
    threshold: float | None
    per_frame: bool
    output: str | None

    @classmethod
    def read(cls, given: Options) -> ReconstructOptions:
        """Read a manifest's options.

        Raises:
            TaskFailed: ``task.options``, naming the option.
        """
        values = _READ.values(given)
        labels = _READ.labels(values["labels"])
        if len(labels) != 2 or any(label.threshold is not None for label in labels):
            raise refused("labels", "must be two, without thresholds of their own")
        threshold = values["threshold"]
        return cls(
            labels=labels,
            error=_READ.choice("error", values["error"], ERRORS),
            smooth_px=_side(values["smooth_px"]),
            part=_part(values["part"]),
            threshold=None if threshold is None else _READ.measure("threshold", threshold),
            per_frame=_READ.flag("per_frame", values["per_frame"]),
            output=None if values["output"] is None else _READ.text("output", values["output"]),
        )


def _side(value: Any) -> int:
    side = _READ.whole("smooth_px", value)
    if side % 2 == 0:
        raise refused("smooth_px", f"is {side}, which is even")
    return side


def _part(value: Any) -> float:
    part = _READ.fraction("part", value)
    if part == 0:
        raise refused("part", "is 0, which leaves nothing")
    return part

"""The options of segment, read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgeai.api import IN_THE_PATIENT, SPACINGS, Options, OptionSpec, TaskFailed
from edgeai_tasks.reading import Label, Reader

MODES = ("multi-label", "multi-class")
ACTIVATIONS = ("none", "sigmoid", "softmax")
SHAPES = ("free", "ellipse")
_LEAST_POINTS = 8

OPTIONS: tuple[OptionSpec, ...] = (
    OptionSpec(
        name="labels",
        required=True,
        help="the model's labels in the order of its output channels: each a word, or {label, threshold, concept: "
        "{code, scheme, meaning}}",
    ),
    OptionSpec(
        name="mode",
        default="multi-label",
        choices=MODES,
        help="multi-label: each channel is decided by itself, labels may overlap; multi-class: a pixel has exactly one",
    ),
    OptionSpec(
        name="background",
        help="multi-class: the label that stands for nothing; it is no finding",
    ),
    OptionSpec(
        name="activation",
        default="none",
        choices=ACTIVATIONS,
        help="what turns the outputs into probabilities: none where the model ends in it itself, sigmoid for "
        "multi-label logits, softmax for multi-class ones",
    ),
    OptionSpec(
        name="threshold",
        help="least probability of a pixel of a label, above 0, to 1; when absent 0.5, and none for multi-class",
    ),
    OptionSpec(name="thresholds", default={}, help="label -> its own threshold, above 0, to 1"),
    OptionSpec(name="fill_holes", default=False, help="whether holes become part of what surrounds them"),
    OptionSpec(name="largest_component", default=False, help="whether only the largest piece of a label counts"),
    OptionSpec(name="min_area_px", default=0, help="smaller pieces do not count; in pixels of the source image"),
    OptionSpec(
        name="min_area_mm2",
        default=0,
        help="smaller pieces do not count; in mm2. An image without pixel spacing is then refused, unless min_area_px "
        "says what to do with it",
    ),
    OptionSpec(
        name="millimetres_from",
        default=list(IN_THE_PATIENT),
        help="what millimetres may come from: pixel-spacing, region (of ultrasound), imager-pixel-spacing (of the "
        "detector's plane) and nominal-scanned-pixel-spacing (of the film); by the last two the anatomy is smaller",
    ),
    OptionSpec(
        name="shape",
        default="free",
        choices=SHAPES,
        help="free: what the model marks is what counts; ellipse: the ellipse of the same second moments is, for what "
        "is an ellipse by its nature or is measured as one (a head's circumference). It is outlined, measured and "
        "judged; not with mode multi-class",
    ),
    OptionSpec(name="max_points", default=128, help="most points of a label's contours, from 8: bounds the message"),
    OptionSpec(
        name="ellipse",
        default=False,
        help="whether a finding is measured by its ellipse too, that of the same second moments: circumference and "
        "axes, in mm where the image says how large its pixels are; and judged by it",
    ),
    OptionSpec(
        name="sizes",
        default=[],
        help="with ellipse: circumferences, rising, between which reports tell samples apart; in mm",
    ),
    OptionSpec(name="per_frame", default=False, help="whether the result lists each frame's findings too"),
    OptionSpec(name="output", help="which output of the model; needed where it has several"),
)

_READ = Reader("segment", OPTIONS)


def refused(name: str, why: str) -> TaskFailed:
    """The error for an option that makes no sense."""
    return _READ.refused(name, why)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions:
    """What the manifest says about a segmentation model."""

    labels: tuple[Label, ...]
    exclusive: bool
    background: int | None
    activation: str
    fill_holes: bool
    largest_component: bool
    min_area_px: float
    min_area_mm2: float
    millimetres_from: tuple[str, ...]
    max_points: int
    shape: str
    ellipse: bool
    sizes: tuple[float, ...]
    per_frame: bool
    output: str | None

    @property
    def found(self) -> tuple[int, ...]:
        """Channels of the labels that are findings."""
        return tuple(index for index in range(len(self.labels)) if index != self.background)

    @classmethod
    def read(cls, given: Options) -> SegmentOptions:
        """Read a manifest's options.

        Raises:
            TaskFailed: ``task.options``, naming the option.
        """
        values = _READ.values(given)
        exclusive = _READ.choice("mode", values["mode"], MODES) == "multi-class"
        labels = _READ.labels(values["labels"])
        return cls(
            labels=_thresholds(labels, exclusive, values["threshold"], values["thresholds"]),
            exclusive=exclusive,
            background=_background(values["background"], labels, exclusive),
            activation=_activation(values["activation"], exclusive),
            fill_holes=_READ.flag("fill_holes", values["fill_holes"]),
            largest_component=_READ.flag("largest_component", values["largest_component"]),
            min_area_px=_READ.measure("min_area_px", values["min_area_px"]),
            min_area_mm2=_READ.measure("min_area_mm2", values["min_area_mm2"]),
            millimetres_from=_sources(values["millimetres_from"]),
            max_points=_points(values["max_points"]),
            shape=_shape(values["shape"], exclusive),
            ellipse=_READ.flag("ellipse", values["ellipse"]),
            sizes=_sizes(values["sizes"], ellipse=values["ellipse"]),
            per_frame=_READ.flag("per_frame", values["per_frame"]),
            output=None if values["output"] is None else _READ.text("output", values["output"]),
        )


def _thresholds(labels: tuple[Label, ...], exclusive: bool, common: Any, named: Any) -> tuple[Label, ...]:
    default = None if exclusive else 0.5
    if common is not None:
        default = _READ.fraction("threshold", common)
    read = _READ.thresholds(labels, default, named)
    for label in read:
        if label.threshold == 0.0:
            raise refused("thresholds", f"let every pixel be {label.label!r}")
    return read


def _background(value: Any, labels: tuple[Label, ...], exclusive: bool) -> int | None:
    if exclusive and len(labels) < 2:
        raise refused("labels", "are too few for labels that exclude one another")
    if value is None:
        return None
    names = [label.label for label in labels]
    if not exclusive:
        raise refused("background", "goes with mode multi-class alone")
    if value not in names:
        raise refused("background", f"is {value!r}, which is no label")
    return names.index(value)


def _activation(value: Any, exclusive: bool) -> str:
    activation = _READ.choice("activation", value, ACTIVATIONS)
    if activation == ("sigmoid" if exclusive else "softmax"):
        raise refused("activation", f"is {activation}, which does not go with this mode")
    return activation


def _shape(value: Any, exclusive: bool) -> str:
    shape = _READ.choice("shape", value, SHAPES)
    if exclusive and shape == "ellipse":
        raise refused("shape", "is ellipse, which may reach into another label where labels exclude one another")
    return shape


def _sources(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise refused("millimetres_from", f"is {value!r}, not a list")
    return tuple(_READ.choice("millimetres_from", source, SPACINGS) for source in value)


def _sizes(value: Any, *, ellipse: bool) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise refused("sizes", f"are {value!r}, not a list")
    sizes = tuple(_READ.measure("sizes", size) for size in value)
    if any(low >= high for low, high in pairwise((0.0, *sizes))):
        raise refused("sizes", f"are {list(sizes)}, which do not rise from above 0")
    if sizes and not ellipse:
        raise refused("sizes", "go with ellipse alone")
    return sizes


def _points(value: Any) -> int:
    points = _READ.whole("max_points", value)
    if points < _LEAST_POINTS:
        raise refused("max_points", f"is {points}, not a whole number from {_LEAST_POINTS}")
    return points

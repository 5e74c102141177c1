"""The options of detect, read strictly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from edgeai.api import IN_THE_PATIENT, SPACINGS, Options, OptionSpec, TaskFailed
from edgeai_tasks.detect.candidates import FLOOR
from edgeai_tasks.detect.suppression import KINDS, Suppression
from edgeai_tasks.reading import Label, Reader

DENSE, SSD, POSTPROCESSED, TWO_STAGE = FORMS = ("dense", "ssd", "tflite-postprocessed", "two-stage")
ACTIVATIONS = ("none", "sigmoid", "softmax")
BACKGROUNDS = ("no", "first", "last")
ORDERS = ("xy", "yx")
COORDINATES = ("shares", "pixels")

_BY_FORM: Final = MappingProxyType(
    {
        DENSE: MappingProxyType({"background": "no", "order": "xy", "nms": "hard"}),
        SSD: MappingProxyType({"background": "first", "order": "yx", "nms": "hard"}),
        POSTPROCESSED: MappingProxyType({"background": "no", "order": "yx", "nms": "no"}),
        TWO_STAGE: MappingProxyType({"background": "last", "order": "xy", "nms": "hard"}),
    }
)
"""What a form has where nobody says: as its best known maker writes it."""

OPTIONS: tuple[OptionSpec, ...] = (
    OptionSpec(
        name="labels",
        required=True,
        help="the model's labels in the order of its scores, without a background: each a word, or {label, threshold, "
        "concept: {code, scheme, meaning}}",
    ),
    OptionSpec(
        name="form",
        required=True,
        choices=FORMS,
        help="how the outputs say where things are: dense: at each place of a grid; ssd: about anchors; "
        "tflite-postprocessed: the four outputs of TFLite_Detection_PostProcess; two-stage: about proposals",
    ),
    OptionSpec(
        name="outputs",
        help="names of the model's outputs in the order in which the form reads them; by default the model's own: "
        "dense: the levels; ssd: boxes, scores; tflite-postprocessed: boxes, classes, scores, count; two-stage: "
        "proposals, scores, deltas, and where it is trained here its first stage's grid",
    ),
    OptionSpec(
        name="activation",
        default="none",
        choices=ACTIVATIONS,
        help="what turns scores into probabilities: none where the model ends in it itself; dense takes no softmax, "
        "tflite-postprocessed none",
    ),
    OptionSpec(
        name="background",
        choices=BACKGROUNDS,
        help="which column of the scores stands for nothing; when absent first for ssd, last for two-stage, else no",
    ),
    OptionSpec(name="threshold", help="least score of a box that is stated, from 0.01 to 1; when absent 0.5"),
    OptionSpec(name="thresholds", default={}, help="label -> its own threshold, from 0.01 to 1"),
    OptionSpec(
        name="anchors",
        help="ssd: rows of y, x, h, w in shares of the plane; or {grids: [[rows, columns], ...], min_scale (0.2), "
        "max_scale (0.95), aspect_ratios, interpolated (1.0), reduce_lowest (true)}, which makes them as TensorFlow's "
        "object detection API does",
    ),
    OptionSpec(
        name="box_scales",
        default=[10.0, 10.0, 5.0, 5.0],
        help="ssd and two-stage: what encodings of x, y, w, h are divided by, each above 0",
    ),
    OptionSpec(
        name="order",
        choices=ORDERS,
        help="whether boxes and deltas have x or y first; when absent yx for ssd and tflite-postprocessed, else xy",
    ),
    OptionSpec(
        name="coordinates",
        default="pixels",
        choices=COORDINATES,
        help="two-stage: whether proposals are in pixels of the model's input, or in shares of it",
    ),
    OptionSpec(
        name="nms",
        choices=KINDS,
        help="what happens to a box that overlaps one with a higher score: hard: it is taken away; linear, gaussian: "
        "its score is lowered (soft-NMS); no: nothing. When absent no for tflite-postprocessed, else hard",
    ),
    OptionSpec(name="nms_overlap", default=0.5, help="hard and linear: from which intersection over union on, 0 to 1"),
    OptionSpec(name="nms_sigma", default=0.5, help="gaussian: above 0; the lower, the more a score falls"),
    OptionSpec(name="nms_across_labels", default=False, help="whether boxes of different labels take each other away"),
    OptionSpec(name="max_detections", default=100, help="most boxes of a frame, from 1: bounds the message"),
    OptionSpec(
        name="millimetres_from",
        default=list(IN_THE_PATIENT),
        help="what millimetres may come from: pixel-spacing, region (of ultrasound), imager-pixel-spacing (of the "
        "detector's plane) and nominal-scanned-pixel-spacing (of the film); by the last two the anatomy is smaller",
    ),
    OptionSpec(
        name="sizes",
        default=[],
        help="lengths, rising, between which reports tell samples apart by the longer side of their largest true box; "
        "in mm",
    ),
    OptionSpec(name="per_frame", default=False, help="whether the result lists each frame's findings too"),
)

_READ = Reader("detect", OPTIONS)


def refused(name: str, why: str) -> TaskFailed:
    """The error for an option that makes no sense."""
    return _READ.refused(name, why)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectOptions:
    """What the manifest says about a detector. ``anchors`` is as it was given: the form that has some reads it."""

    labels: tuple[Label, ...]
    form: str
    outputs: tuple[str, ...] | None
    activation: str
    background: str
    anchors: Any
    box_scales: tuple[float, ...]
    order: str
    coordinates: str
    suppression: Suppression
    millimetres_from: tuple[str, ...]
    sizes: tuple[float, ...]
    per_frame: bool

    @property
    def width(self) -> int:
        """Columns of the scores, with the background's."""
        return len(self.labels) + (self.background != "no")

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' words."""
        return tuple(label.label for label in self.labels)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """One a label."""
        return tuple(label.threshold or FLOOR for label in self.labels)

    @classmethod
    def read(cls, given: Options) -> DetectOptions:
        """Read a manifest's options.

        Raises:
            TaskFailed: ``task.options``, naming the option.
        """
        values = _READ.values(given)
        form = _READ.choice("form", values.get("form"), FORMS)
        for name, default in _BY_FORM[form].items():
            values[name] = default if values[name] is None else values[name]
        background = _READ.choice("background", values["background"], BACKGROUNDS)
        return cls(
            labels=_thresholds(values),
            form=form,
            outputs=_outputs(values["outputs"]),
            activation=_activation(values["activation"], form, background),
            background=background,
            anchors=_anchors(values["anchors"], form),
            box_scales=_scales(values["box_scales"]),
            order=_READ.choice("order", values["order"], ORDERS),
            coordinates=_READ.choice("coordinates", values["coordinates"], COORDINATES),
            suppression=_suppression(values),
            millimetres_from=_sources(values["millimetres_from"]),
            sizes=_sizes(values["sizes"]),
            per_frame=_READ.flag("per_frame", values["per_frame"]),
        )


def _thresholds(values: Options) -> tuple[Label, ...]:
    common = values["threshold"]
    default = 0.5 if common is None else _READ.fraction("threshold", common)
    labels = _READ.thresholds(_READ.labels(values["labels"]), default, values["thresholds"])
    for label in labels:
        if (label.threshold or 0.0) < FLOOR:
            raise refused("thresholds", f"let every place be {label.label!r}: {label.threshold} is below {FLOOR}")
    return labels


def _activation(value: Any, form: str, background: str) -> str:
    activation = _READ.choice("activation", value, ACTIVATIONS)
    if form in (DENSE, POSTPROCESSED) and background != "no":
        raise refused("background", f"is {background}, and {form} has none")
    if form == POSTPROCESSED and activation != "none":
        raise refused("activation", f"is {activation}, and the scores of {form} are probabilities")
    if activation == "softmax" and background == "no":
        raise refused("activation", "is softmax without a background, by which something is everywhere")
    return activation


def _anchors(value: Any, form: str) -> Any:
    if (value is not None) != (form == SSD):
        raise refused("anchors", f"are {'missing' if value is None else 'given'}, and the form is {form}")
    return value


def _suppression(values: Options) -> Suppression:
    sigma, most = (
        _READ.measure("nms_sigma", values["nms_sigma"]),
        _READ.whole("max_detections", values["max_detections"]),
    )
    if sigma <= 0:
        raise refused("nms_sigma", "is 0")
    if most < 1:
        raise refused("max_detections", f"is {most}, not a whole number from 1")
    return Suppression(
        kind=_READ.choice("nms", values["nms"], KINDS),
        overlap=_READ.fraction("nms_overlap", values["nms_overlap"]),
        sigma=sigma,
        across_labels=_READ.flag("nms_across_labels", values["nms_across_labels"]),
        most=most,
    )


def _list(name: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise refused(name, f"is {value!r}, not a list")
    return value


def _outputs(value: Any) -> tuple[str, ...] | None:
    return None if value is None else tuple(_READ.text("outputs", name) for name in _list("outputs", value))


def _scales(value: Any) -> tuple[float, ...]:
    scales = tuple(_READ.measure("box_scales", scale) for scale in _list("box_scales", value))
    if len(scales) != 4 or min(scales) <= 0:
        raise refused("box_scales", f"are {list(scales)}, not four numbers above 0")
    return scales


def _sources(value: Any) -> tuple[str, ...]:
    return tuple(_READ.choice("millimetres_from", source, SPACINGS) for source in _list("millimetres_from", value))


def _sizes(value: Any) -> tuple[float, ...]:
    sizes = tuple(_READ.measure("sizes", size) for size in _list("sizes", value))
    if any(low >= high for low, high in pairwise((0.0, *sizes))):
        raise refused("sizes", f"are {list(sizes)}, which do not rise from above 0")
    return sizes

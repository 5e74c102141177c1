"""What schema 2 of a manifest adds: what an answer is about, several inputs, what stands in front, and why.

Of it this edgeai runs the guard: the look at the content (``edgeai.model.content``), its model
(``edgeai.model.sentry``), distance and abstention; ``honour`` refuses to run what asks for more, and says for what.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from edgeai.bundle.parts import (
    ArtifactDecl,
    Bound,
    Eligibility,
    Extent,
    GoldenCase,
    Record,
    Slug,
    TaskUse,
    TensorDecl,
    TransformStep,
    Word,
)

Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0.0, le=86_400.0)]

Attribute: TypeAlias = Literal[
    "modality",
    "body_part_examined",
    "view_position",
    "laterality",
    "photometric_interpretation",
    "manufacturer",
    "manufacturer_model_name",
    "rows",
    "columns",
    "bits_stored",
    "kvp",
    "exposure",
    "exposure_time",
    "x_ray_tube_current",
    "distance_source_to_detector",
    "patient_age",
    "patient_sex",
]
"""Keywords of the attributes that a model may take as numbers. Of the patient only age and sex, where the profile
allows them too; they are read for the run, and are neither kept nor published."""


class ClipUse(Record, frozen=True, kw_only=True):
    """Windows of frames, of one multi-frame instance or of all that a series has.

    A window has ``frames`` frames, ``interval_s`` seconds apart by the Standard's frame times (0: each next one);
    the next begins ``stride`` frames later. One with too few is refused, or repeated from its beginning.
    """

    frames: Extent
    stride: Extent = 1
    interval_s: Bound = 0.0
    source: Literal["instance", "series"] = "instance"
    short: Literal["refuse", "repeat"] = "refuse"


class GatheringUse(Record, frozen=True, kw_only=True):
    """How long the parts of a series or study are waited for, and what then becomes of those that are not all there.

    ``withhold``: no statement. ``declare``: the model runs where every part that is missing is not ``required``.
    """

    timeout_s: Seconds
    missing: Literal["withhold", "declare"] = "withhold"


class UnitUse(Record, frozen=True, kw_only=True):
    """What one answer is about."""

    kind: Literal["frame", "clip", "series", "study"] = "frame"
    clip: ClipUse | None = None
    gathering: GatheringUse | None = None


class InputEligibility(Eligibility, frozen=True, kw_only=True):
    """Which instances an input is for, beside what the whole model asks; as ``eligibility``, and by side."""

    laterality: tuple[Word, ...] = ()


class ImageFeed(Record, frozen=True, kw_only=True, tag_field="source", tag="image"):
    """An input that is an image: it passes the manifest's ``transforms``, then those of its own."""

    eligibility: InputEligibility = InputEligibility()
    transforms: tuple[TransformStep, ...] = ()
    required: bool = True


class AttributeUse(Record, frozen=True, kw_only=True):
    """One attribute as numbers: ``(value - offset) * scale``, or a 1 at its place among ``values`` and 0 elsewhere.

    ``absent`` is the number where the header lacks it (one-hot: zeros all along); without, such an image gets none.
    """

    keyword: Attribute
    encode: Literal["number", "one-hot"] = "number"
    offset: float = 0.0
    scale: float = 1.0
    values: tuple[Word, ...] = ()
    absent: float | None = None


class AttributeFeed(Record, frozen=True, kw_only=True, tag_field="source", tag="attributes"):
    """An input of attributes of the header, encoded one behind the other in this order."""

    attributes: Annotated[tuple[AttributeUse, ...], msgspec.Meta(min_length=1)]


class StateFeed(Record, frozen=True, kw_only=True, tag_field="source", tag="state"):
    """An input that is an ``output`` of the frame before; zeros at the beginning of each series."""

    output: Word


Feed: TypeAlias = ImageFeed | AttributeFeed | StateFeed


def source_of(feed: Feed) -> str:
    """``image``, ``attributes`` or ``state``."""
    return str(type(feed).__struct_config__.tag)


class GuardModel(Record, frozen=True, kw_only=True):
    """A small model before the model: the same frame through its own transforms, and its answer admits the image.

    ``admit`` are labels of its findings; one of them must have a score of at least ``min_score``.
    """

    task: TaskUse
    admit: Annotated[tuple[Word, ...], msgspec.Meta(min_length=1)]
    min_score: Share
    inputs: Annotated[tuple[TensorDecl, ...], msgspec.Meta(min_length=1, max_length=1)]
    outputs: Annotated[tuple[TensorDecl, ...], msgspec.Meta(min_length=1)]
    artifacts: Annotated[tuple[ArtifactDecl, ...], msgspec.Meta(min_length=1)]
    transforms: tuple[TransformStep, ...] = ()
    golden: tuple[GoldenCase, ...] = ()


class DistanceUse(Record, frozen=True, kw_only=True):
    """How far the features in ``output`` may be from those of the training data, as ``parameters`` (a file) hold them.

    ``true_accept`` is the share of proper images that the threshold was chosen to let through.
    """

    output: Word
    method: Slug
    parameters: Word
    threshold: float
    true_accept: Share


class AbstentionUse(Record, frozen=True, kw_only=True):
    """A conformal set at this risk: what is not exactly one label is no statement.

    ``quantiles`` are by the values of the attribute ``by``, where it is one of them; ``quantile`` is for all others.
    """

    method: Slug
    risk: Share
    quantile: float
    by: Attribute | None = None
    quantiles: dict[Word, float] = msgspec.field(default_factory=dict)


class GuardUse(Record, frozen=True, kw_only=True):
    """What an image must pass before the model may speak, in this order.

    ``content``: figures of the pixels themselves, whether they are a picture at all; nothing else goes with it.
    """

    content: bool = True
    model: GuardModel | None = None
    distance: DistanceUse | None = None
    abstention: AbstentionUse | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """What of it stands there; nothing of all may be what its makers decided."""
        return tuple(stage for stage in ("content", "model", "distance", "abstention") if getattr(self, stage))


class ExplanationUse(Record, frozen=True, kw_only=True):
    """An output that is a map of what decided; ``label`` is what it explains, empty for the answer as a whole."""

    output: Word
    method: Slug
    label: Annotated[str, msgspec.Meta(max_length=200)] = ""

"""The words and parts that a manifest is made of, those of its first schema; ``uses`` has what the second adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from edgeai.api.instances import InstanceRef
from edgeai.api.tensors import TensorSpec

Slug: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
Version: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z][0-9A-Za-z.+-]{0,63}\Z")]
DottedNumbers: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,6}(\.[0-9]{1,6}){0,2}\Z")]
# No control characters: these words end up in logs and on terminals.
Text: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x08\x0b-\x1f\x7f-\x9f]+\Z", max_length=4000)]
Word: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f]+\Z", max_length=200)]
Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Extent: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
Bound: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0)]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every part of the manifest is: immutable, by keyword, and closed to unknown keys."""

    def told(self) -> dict[str, Any]:
        """All of it that is not as usual, as plain values: what is worth showing."""
        usual = {field.name: field.default for field in msgspec.structs.fields(self)}
        told = {
            name: value for name, value in msgspec.structs.asdict(self).items() if value not in (usual[name], {}, None)
        }
        return {
            name: value.told() if isinstance(value, Record) else msgspec.to_builtins(value)
            for name, value in told.items()
        }


class Eligibility(Record, frozen=True, kw_only=True):
    """Which SOP Instances the model is meant for. An empty tuple or 0 asks nothing.

    ``min_rows`` and ``min_columns`` are asked of the image, and again of what a step of ``transforms`` cuts out of it:
    in pixels of the source image, that is what the model sees.
    """

    modality: tuple[Word, ...] = ()
    sop_class_uid: tuple[Word, ...] = ()
    body_part_examined: tuple[Word, ...] = ()
    view_position: tuple[Word, ...] = ()
    photometric_interpretation: tuple[Word, ...] = ()
    min_rows: Count = 0
    min_columns: Count = 0

    def why_not(self, instance: InstanceRef) -> str | None:
        """One sentence on why this instance is not for this model, or ``None`` when it is. Pure."""
        for keyword in (
            "modality",
            "sop_class_uid",
            "body_part_examined",
            "view_position",
            "photometric_interpretation",
        ):
            wanted: tuple[str, ...] = getattr(self, keyword)
            value = getattr(instance, keyword).strip().upper()
            if wanted and value not in {item.strip().upper() for item in wanted}:
                return f"{keyword} is {value or 'absent'}, the model wants {' or '.join(wanted)}"
        return self.too_small(instance.rows, instance.columns)

    def too_small(self, rows: int, columns: int) -> str | None:
        """One sentence on why so many rows and columns are too few, or ``None`` when they are not. Pure."""
        for keyword, extent, least in (("rows", rows, self.min_rows), ("columns", columns, self.min_columns)):
            if 0 < extent < least:  # no rows at all are no small image, but a broken one
                return f"{keyword} is {extent}, the model wants at least {least}"
        return None


class PixelUse(Record, frozen=True, kw_only=True):
    """Named fast paths of the decoder that change the numbers reaching the model.

    ``luma``: JPEG decoded straight to grey. ``reduced``: JPEG 2000 and JPEG at the smallest level that is not under
    twice the model's input. ``smallest``: at the smallest that is not under the model's input itself.
    """

    fast: tuple[Literal["luma", "reduced", "smallest"], ...] = ()


class FrameUse(Record, frozen=True, kw_only=True):
    """Which frames of a multi-frame instance run: ``all``, ``first`` or ``middle``.

    With ``all``, every ``every``-th from the first; of these at most ``max`` (0: no bound), evenly spread.
    """

    select: Literal["all", "first", "middle"] = "all"
    every: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    max: Count = 0

    def numbers(self, number_of_frames: int) -> Sequence[int]:
        """Frame numbers, from 1 and rising, of an instance with so many frames (at least 1).

        Lazy, since what a header claims may be absurd, and is refused only when its pixels are read.
        """
        if self.select == "first":
            return (1,)
        if self.select == "middle":
            return ((number_of_frames + 1) // 2,)
        chosen = range(1, number_of_frames + 1, self.every)
        if self.max == 0 or len(chosen) <= self.max:
            return chosen
        return tuple(chosen[i * len(chosen) // self.max] for i in range(self.max))


class TaskUse(Record, frozen=True, kw_only=True):
    """What is asked of the outputs: a ``TaskSpec`` by name, with its options."""

    name: Word
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class TransformStep(Record, frozen=True, kw_only=True):
    """One preprocessing step: a ``TransformSpec`` by name, with its options."""

    transform: Word
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class TensorDecl(Record, frozen=True, kw_only=True):
    """One input or output tensor; see ``edgeai.api.TensorSpec``. ``null`` in a shape means any extent."""

    name: Word
    dtype: Word
    shape: Annotated[tuple[Extent | None, ...], msgspec.Meta(max_length=8)]
    layout: Annotated[str, msgspec.Meta(max_length=8)] = ""

    def spec(self) -> TensorSpec:
        """The same as the header's type, for plugins."""
        return TensorSpec(name=self.name, dtype=self.dtype, shape=self.shape, layout=self.layout)


class ArtifactDecl(Record, frozen=True, kw_only=True):
    """The model in one backend's format. ``path`` is a file, or a folder where the format is one."""

    id: Slug
    format: Word
    precision: Slug
    path: Word
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class Tolerance(Record, frozen=True, kw_only=True):
    """An output may differ from the golden one by ``absolute + relative * |golden|``."""

    absolute: Bound = 1e-3
    relative: Bound = 1e-3


class GoldenCase(Record, frozen=True, kw_only=True):
    """Input tensors and the outputs that they must give: tensor name -> ``.npy`` file of the bundle.

    ``artifacts`` narrows or widens the tolerance for an artifact id (int8 is further from its parent).
    """

    id: Slug
    inputs: dict[Word, Word]
    outputs: dict[Word, Word]
    tolerance: Tolerance = Tolerance()
    artifacts: dict[Slug, Tolerance] = msgspec.field(default_factory=dict)

    def tolerance_for(self, artifact_id: str) -> Tolerance:
        """What this artifact is held to."""
        return self.artifacts.get(artifact_id, self.tolerance)


class FileDecl(Record, frozen=True, kw_only=True):
    """One file of the bundle, by content."""

    sha256: Sha256
    bytes: Count

"""Tables of a card that say what the manifest says: made of the manifest's own types, with a description a key.

A card's mistakes are told all at once, with their lines, by pydantic; a manifest is msgspec's (ADR 0001). What both
hold is declared once, there, and checked here by the same bounds; the card's value is the manifest's struct.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import NODEFAULT
from msgspec import inspect as types
from pydantic import Field, GetCoreSchemaHandler, computed_field, create_model, model_serializer
from pydantic_core import CoreSchema, core_schema

from edgeai.bundle.honour import ABSTENTION_GROUPS, SPLIT_CONFORMAL
from edgeai.bundle.manifest import Eligibility, FrameUse, PixelUse, TaskUse, TransformStep
from edgeai.bundle.parts import Record
from edgeai.bundle.uses import GuardModel, GuardUse
from edgeai_workbench.tables import Digest, Real, Slug, Table

UNFITTED: Final = 1e9
"""No answer is so strange, so that all are left."""


@dataclass(frozen=True)
class As:
    """Marks a field of a card whose TOML is ``table`` and whose value is that table as the struct ``kind``."""

    table: type[Table]
    kind: type[msgspec.Struct]

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def converted(value: Table) -> msgspec.Struct:
            return msgspec.convert(value.model_dump(), self.kind)

        return core_schema.no_info_after_validator_function(converted, handler.generate_schema(self.table))


def table_of(kind: type[msgspec.Struct], doc: str, what: Mapping[str, str]) -> type[Table]:
    """The table of a struct: each field of it, with its own bounds and default, and what it is.

    Args:
        kind: the struct.
        doc: the table's docstring; what follows its first colon is the reference's sentence.
        what: description by field, for every field.
    """
    struct = cast("types.StructType", types.type_info(kind))
    assert [field.name for field in struct.fields] == list(what), f"{kind.__name__} has other fields"
    fields: dict[str, Any] = {field.name: _field(field, what[field.name]) for field in struct.fields}
    return create_model(f"{kind.__name__}Table", __base__=Table, __doc__=doc, **fields)


def _field(field: types.Field, what: str) -> tuple[Any, Any]:
    options: dict[str, Any] = {"description": what}
    if isinstance(field.type, types.VarTupleType):
        options["strict"] = False  # TOML has arrays
    if field.default_factory is not NODEFAULT:
        return _annotation(field.type), Field(default_factory=field.default_factory, **options)
    return _annotation(field.type), Field(... if field.default is NODEFAULT else field.default, **options)


def _annotation(kind: types.Type) -> Any:
    """The same for pydantic, whose patterns are Rust's."""
    match kind:
        case types.StrType():
            pattern = kind.pattern.replace(r"\Z", r"\z") if kind.pattern else None
            return Annotated[str, Field(pattern=pattern, max_length=kind.max_length)]
        case types.IntType():
            return Annotated[int, Field(ge=kind.ge, le=kind.le)]
        case types.LiteralType():
            return Literal[kind.values]
        case types.VarTupleType():
            return tuple[_annotation(kind.item_type), ...]  # type: ignore[misc]
        case types.DictType():
            return dict[str, Any]
    raise TypeError(f"no field of a card is {kind}")


class DistanceTable(Table):
    """``[guard.distance]``: what is unlike training is withheld, by features that the last step of a variant adds."""

    output: Slug = Field("features", description="the output that holds them, as the step names it")
    method: Literal["mahalanobis"] = Field("mahalanobis", description="`mahalanobis`")
    true_accept: float = Field(
        0.98, ge=0.5, lt=1.0, description="the share of proper images that is to pass; the bound is chosen out of fold"
    )

    @computed_field
    def parameters(self) -> str:
        """Where a bundle has what was learnt."""
        return "guard/distance.npz"

    @computed_field
    def threshold(self) -> float:
        """Distances are parts of the bound, which each artifact has for itself."""
        return 1.0


class Standing(Table):
    """``[guard.model]``: the model of another bundle, put before this one (docs/guides/guards.md)."""

    bundle: str = Field(
        min_length=1,
        max_length=400,
        description="where it lies, from the card's folder: a bundle, or the folder of a card with its bundle in it",
    )
    digest: Digest = Field(description="of that bundle; one with another is refused")
    admit: tuple[str, ...] = Field(
        strict=False, min_length=1, description="labels of its findings that are let through"
    )
    min_score: Real = Field(le=1.0, description="one of them must have at least this score")
    artifacts: tuple[Slug, ...] = Field(
        (),
        strict=False,
        description="which of its artifacts ship; by default those of the formats that the model ships",
    )


class StandingUse(Record, frozen=True, kw_only=True):
    """What a card asks for in ``[guard.model]``."""

    bundle: str
    digest: str
    admit: tuple[str, ...]
    min_score: float
    artifacts: tuple[str, ...] = ()


class CardGuard(GuardUse, frozen=True, kw_only=True):
    """``guard`` of a manifest as far as a card alone says it; ``standing`` is what its ``model`` is made of."""

    standing: StandingUse | None = None

    def for_manifest(self, model: GuardModel | None = None) -> GuardUse:
        """As a manifest has it, with the model that stands before the model."""
        known = {name: getattr(self, name) for name in GuardUse.__struct_fields__}
        return GuardUse(**{**known, "model": model})


class AbstentionTable(Table):
    """``[guard.abstention]``: a statement is made only where one answer is left; `build` fits the quantiles."""

    risk: Annotated[float, Field(gt=0.0, le=0.5)] = Field(
        description="share of images of which the answers that are left may lack the true one"
    )
    by: Literal[ABSTENTION_GROUPS] | None = Field(  # type: ignore[valid-type]
        None, description="attribute of the header by whose values the risk is held in each group by itself"
    )

    @model_serializer
    def _as_used(self) -> dict[str, Any]:
        """As the manifest has it, before it is fitted: at this quantile no image gets a statement."""
        return {"method": SPLIT_CONFORMAL, "risk": self.risk, "quantile": UNFITTED, "by": self.by}


class GuardTable(Table):
    """``[guard]``: what stands before the model; what is absent is as the defaults say, without the table too."""

    content: bool = Field(
        True, description="whether images that show nothing are withheld (docs/guides/guards.md); `false` leaves it out"
    )
    distance: DistanceTable | None = None
    standing: Standing | None = Field(None, alias="model")
    abstention: AbstentionTable | None = None


ELIGIBILITY: Final = table_of(
    Eligibility,
    "``[eligibility]``: which instances the model is for; what is absent or empty asks nothing.",
    {
        "modality": "values of Modality (0008,0060)",
        "sop_class_uid": "SOP Class UIDs",
        "body_part_examined": "values of (0018,0015)",
        "view_position": "values of View Position (0018,5101)",
        "photometric_interpretation": "as in the file",
        "min_rows": "least Rows, of the image and of what a crop leaves of it",
        "min_columns": "least Columns, likewise",
    },
)
PIXELS: Final = table_of(
    PixelUse,
    "``[pixels]``: fast paths of the decoder that change the numbers; each must be justified in the report.",
    {"fast": "`luma`, `reduced`, `smallest`"},
)
FRAMES: Final = table_of(
    FrameUse,
    "``[frames]``: which frames of a multi-frame instance run.",
    {
        "select": "`all`, `first` or `middle`",
        "every": "with all: every so many",
        "max": "with all: at most so many, evenly spread; 0 for no bound",
    },
)
TASK: Final = table_of(
    TaskUse,
    "``[task]``: which task, with its options.",
    {"name": "name of a TaskSpec", "options": "as the task documents them"},
)
TRANSFORM: Final = table_of(
    TransformStep,
    "``[[transforms]]``, in order: which transform, with its options.",
    {"transform": "name of a TransformSpec", "options": "as the transform documents them"},
)

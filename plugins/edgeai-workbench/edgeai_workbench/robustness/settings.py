"""``[robustness]`` of a card: which odd images the model is asked of, how strong, and what it has to hold there."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pydantic import Field, model_validator

from edgeai_workbench.robustness.kinds import KINDS
from edgeai_workbench.tables import Real, Sentence, Table


class RobustnessUse(Table):
    """``[robustness]``: odd images, and another hospital's; without the table `--robustness` has these defaults."""

    rows: tuple[str, ...] = Field(
        tuple(KINDS), strict=False, description="which kinds of odd images; see the guide to robustness"
    )
    samples: int = Field(200, gt=1, description="images that are asked about, evenly spread over those that judge")
    confident: float = Field(
        0.9, gt=0, le=1, description="a wrong answer of this confidence, or of none, is confidently wrong"
    )
    hospitals: int = Field(20, ge=0, le=1000, description="simulated for the interval of other data; 0: none")
    literature: Sentence | None = Field(
        None,
        description="what others found of other hospitals' data of this kind, with author and year; the report says it",
    )
    strengths: dict[str, Real] = Field(default_factory=dict, description="kind -> another strength, in the kind's unit")
    min_right: dict[str, Real] = Field(
        default_factory=dict,
        description="a gate: kind (or `plain`) -> least share that is right: the lower end of the interval counts",
    )
    max_confidently_wrong: dict[str, Real] = Field(
        default_factory=dict,
        description="a gate: kind (or `plain`) -> greatest share that is confidently wrong: the upper end counts",
    )

    @property
    def bounded(self) -> bool:
        """Whether it holds any gate."""
        return bool(self.min_right or self.max_confidently_wrong)

    @model_validator(mode="after")
    def _known(self) -> RobustnessUse:
        asked = set(self.rows)
        for key, names in (("rows", self.rows), ("strengths", self.strengths)):
            _among(key, names, KINDS)
        if len(asked) < len(self.rows):
            raise ValueError("rows has one kind twice")
        for key, bounds in (("min_right", self.min_right), ("max_confidently_wrong", self.max_confidently_wrong)):
            _among(key, bounds, ("plain", *self.rows))
            for name, bound in bounds.items():
                if bound > 1:
                    raise ValueError(f"{key}.{name} is {bound:g}; it is a share, 1 at most")
        for name, strength in self.strengths.items():
            kind = KINDS[name]
            if kind.strength is None:
                raise ValueError(f"strengths: {name} has no strength")
            if not kind.bounds[0] <= strength <= kind.bounds[1]:
                raise ValueError(
                    f"strengths.{name} is {strength:g}, to be {kind.bounds[0]:g} to {kind.bounds[1]:g}: "
                    f"{kind.help.format('that')}"
                )
        return self

    def strength(self, kind: str) -> float | None:
        """Of one kind, in its unit; ``None`` where it has none."""
        return self.strengths.get(kind, KINDS[kind].strength)


def _among(key: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{key}: there is no kind {name}; known here: {', '.join(known)}")

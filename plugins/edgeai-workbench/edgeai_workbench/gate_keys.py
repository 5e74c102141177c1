"""``[gates]`` of a card: what every artifact that ships must hold.

A bound counts the value (``floors``), the end of its interval (``shown_floors``), the difference from the parent, or
what differs in the decisions, for which the card has to argue its margin.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from edgeai_workbench.tables import Argument, Real, Table

MIN_MEMBERS: Final = 10


class Decision(Table):
    """``[gates.decision]``: whoever acts on the answers is served as by the parent, but for a margin that is argued."""

    margins: dict[str, Real] = Field(
        min_length=1,
        description="metric -> most fall below the parent's, both at the card's own thresholds: the upper end of the "
        "paired 95 % interval counts, Tango's for shares such as `sensitivity`",
    )
    why: Argument = Field(description="why a fall by so much would not matter to whoever acts on the answer")


class Gates(Table):
    """``[gates]``: bounds that every artifact that ships must hold, or there is no bundle."""

    max_keras_bytes: int | None = Field(None, gt=0, description="size of the `.keras` file")
    max_bundle_bytes: int | None = Field(None, gt=0, description="size of the bundle")
    max_bundle_ratio: Real | None = Field(None, description="bytes of the bundle / bytes of the `.keras` file")
    floors: dict[str, float] = Field(
        default_factory=dict, description="metric that is better high -> least value on the validation samples"
    )
    ceilings: dict[str, float] = Field(
        default_factory=dict, description="the same for metrics that are better low -> greatest value"
    )
    max_drop: dict[str, Real] = Field(
        default_factory=dict,
        description="metric -> most fall below the parent: the upper end of the paired 95 % interval counts",
    )
    max_drop_own: dict[str, Real] = Field(
        default_factory=dict,
        description="metric -> most fall below its own Keras model, the variant's: what conversion may cost, likewise",
    )
    worst_floors: dict[str, float] = Field(
        default_factory=dict, description="as `floors`, for the worst subgroup and label that determines the metric"
    )
    worst_ceilings: dict[str, float] = Field(
        default_factory=dict, description="as `ceilings`, for the worst subgroup and label that determines the metric"
    )
    shown_floors: dict[str, float] = Field(
        default_factory=dict,
        description="as `floors`, and the lower end of the 95 % interval counts: what so many samples can show",
    )
    shown_ceilings: dict[str, float] = Field(
        default_factory=dict, description="as `ceilings`, and the upper end counts; of `ece` and `brier`: calibration"
    )
    min_members: int = Field(
        MIN_MEMBERS, gt=0, description="a subgroup of fewer samples holds no `worst_floors` and no `worst_ceilings`"
    )
    decision: Decision | None = Field(None, description="a table of its own, below")
    min_agreement: Real | None = Field(None, le=1, description="least share of samples decided as the parent decides")
    max_size_ratio: Real | None = Field(None, description="bytes of the artifact / bytes of the `.keras` file")
    max_latency_ratio: Real | None = Field(
        None, description="median time / that of the parent in fp32 on LiteRT (else on the same backend), one thread"
    )
    max_withheld: Real | None = Field(
        None,
        le=1,
        description="most of the samples that content, `[guard.model]` and `[guard.distance]` may withhold: the upper "
        "end of the 95 % interval counts",
    )

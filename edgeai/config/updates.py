"""``[updates]`` of a profile."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edgeai.agreement import fewest
from edgeai.config.base import Number, Seconds, Table
from edgeai.windows import PATTERN


class Updates(Table):
    """How a deployment that takes updates switches to a new bundle, and what that must show before it stays."""

    quiet_s: Seconds = Field(10.0, description="switched so long after an image, and not while one of its series waits")
    switch_within_s: Seconds = Field(
        3600.0, description="so long a study may keep it waiting; then it is switched between two images"
    )
    probation_results: int = Field(
        20, ge=1, le=100_000, description="completed results that a new bundle must give before its probation is over"
    )
    probation_failures: int = Field(
        1, ge=0, description="failed results (not by the image's fault) and deaths in probation; one more: it goes back"
    )
    probation_slowdown: Number = Field(
        3.0, ge=1, le=1000, description="an image may take so many times as long as before, by the median"
    )
    probation_withheld: Number = Field(
        0.5,
        ge=0,
        le=1,
        description="so much larger than before may the part of the images be of which nothing is stated",
    )
    probation_bounds: Literal["stricter", "profile"] = Field(
        "stricter",
        description="`stricter`: of these and of those signed with a bundle the stricter; `profile`: only these",
    )
    probation_shift: bool = Field(
        True,
        description="it goes back where a label is stated more or less often than before, by more than chance explains",
    )
    windows: tuple[Annotated[str, Field(pattern=PATTERN)], ...] = Field(
        (),
        strict=False,
        description='`["mon-fri 22:00-05:30", "sat,sun 00:00-24:00"]`: only then it is switched, by the device\'s own'
        " time zone; going back waits for none",
    )
    shadow_agreement: Number = Field(
        0.0,
        ge=0,
        le=0.99,
        description="a new bundle is shown beside what runs first, until it is sure that they agree on so large a part"
        " of the images; 0 for no shadow",
    )
    shadow_images: int = Field(
        1000, ge=1, le=100_000, description="on so many images that must show; else it is not switched to"
    )
    shadow_share: Number = Field(
        0.1, gt=0, le=1, description="part of one core that it may take for that, at the lowest priority"
    )

    @model_validator(mode="after")
    def _can_be_shown(self) -> Self:
        least = fewest(self.shadow_agreement) if self.shadow_agreement else 0
        if self.shadow_images < least:
            raise ValueError(
                f"shadow_agreement = {self.shadow_agreement:g} takes {least} images to show, if all of them agree: "
                f"shadow_images = {self.shadow_images} is too few"
            )
        return self

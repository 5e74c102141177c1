"""What the tables of a profile are made of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo


def _resolved(path: Path, info: ValidationInfo) -> Path:
    base: Path = (info.context or {}).get("base", Path())
    return (base / path.expanduser()).resolve()


def _absolute(path: Path, info: ValidationInfo) -> Path:
    base: Path = (info.context or {}).get("base", Path())
    return Path(os.path.normpath((base / path.expanduser()).absolute()))


FilePath = Annotated[Path, Field(strict=False), AfterValidator(_resolved)]
PlainPath = Annotated[Path, Field(strict=False), AfterValidator(_absolute)]
"""Whoever uses it decides about links in it."""
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="lower case, digits, hyphens")]
AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400), BeforeValidator(lambda v: float(v) if type(v) is int else v)]
Number = Annotated[float, BeforeValidator(lambda v: float(v) if type(v) is int else v)]
"""One that may be written without a point."""
Bytes = Annotated[int, Field(ge=0)]


class Table(BaseModel):
    """A strict, frozen TOML table: an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

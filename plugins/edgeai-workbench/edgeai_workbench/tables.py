"""What every table of a card is made of: strict, frozen, closed to unknown keys."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SLUG: Final = r"^[a-z0-9][a-z0-9._-]{0,63}$"
DIGEST: Final = r"^sha256:[0-9a-f]{64}$"
PATH: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.+/-]*$"
NUMBERS: Final = r"^[0-9]+\.[0-9]+\.[0-9]+$"
ARGUMENT: Final = r"\S+\s+\S+\s+\S+\s+\S"
RELEASE: Final = r"^[0-9]+(\.[0-9]+){0,2}$"

Slug = Annotated[str, Field(pattern=SLUG)]
Digest = Annotated[str, Field(pattern=DIGEST)]
Sentence = Annotated[str, Field(min_length=1, max_length=4000)]
Argument = Annotated[str, Field(pattern=ARGUMENT, max_length=4000)]
"""Of four words at least: a word alone is none."""
Relative = Annotated[str, Field(pattern=PATH)]
Real = Annotated[float, BeforeValidator(lambda v: float(v) if type(v) is int else v), Field(ge=0)]


class Table(BaseModel):
    """A strict, frozen TOML table: an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

"""``[stress]`` of a card: images that the model is not for, and how much of each kind its guards have to withhold."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Final

from pydantic import Field, ValidationError, model_validator

from edgeai.api import ConfigError
from edgeai.config.words import not_toml
from edgeai_workbench.card_words import mistakes
from edgeai_workbench.splits import Dataset, Split
from edgeai_workbench.tables import Real, Relative, Slug, Table
from edgeai_workbench.wrong_images import WRONG

DRAWN: Final = "drawn"
"""In bounds: each kind of drawing."""
PROPER: Final = "proper"
CHANGED: Final[Mapping[str, float | None]] = {"inverted": None, "upside-down": None, "flipped": None, "saturated": 4.0}
"""Kinds of odd images (``robustness.kinds``) that its own become, each with its strength."""
Least = Annotated[Real, Field(le=1.0)]


class Wrong(Table):
    """``[[stress.wrong]]``: a table of images that the model is not for; they come under a header that it takes."""

    table: Relative = Field(description="the table, below the data's folder; none of `[dataset]`")
    image: str = Field("", description="column: the image's file, relative to the table")
    array: str = Field("", description="instead of `image`: `file.npz:key`, as in `[dataset]`")
    index: str = Field("", description="with `array`: column of the place in it; by default the row's own")
    name: Slug | None = Field(None, description="as the report calls it; by default the table's folder")
    min_withheld: Least | None = Field(None, description="a gate: least share of them that is withheld")

    @property
    def called(self) -> str:
        """Its name in the report."""
        path = PurePosixPath(self.table)
        return self.name or path.parent.name or path.stem

    @property
    def split(self) -> Split:
        """The same as a table of samples whose truth nobody asks."""
        return Split(table=self.table, image=self.image, array=self.array, index=self.index)

    @model_validator(mode="after")
    def _one_source_of_pixels(self) -> Wrong:
        if bool(self.image) == bool(self.array):
            raise ValueError("exactly one of image and array must be given")
        return self


class StressUse(Table):
    """``[stress]``: wrong images of which the report says how many are withheld: drawn, its own changed, and these."""

    samples: int = Field(
        40, gt=0, le=10_000, description="images of each kind, evenly spread over those that there are"
    )
    min_withheld: dict[str, Least] = Field(
        default_factory=dict,
        description="a gate: kind -> least share withheld. `drawn`: of each kind that shows nothing; `inverted`, "
        "`upside-down`, `flipped`, `saturated`: of its own validation images so changed, withheld or stated as before",
    )
    wrong: tuple[Wrong, ...] = Field((), strict=False, description="tables of images that the model is not for, below")

    @property
    def bounded(self) -> bool:
        """Whether it holds any gate."""
        return bool(self.min_withheld) or any(wrong.min_withheld is not None for wrong in self.wrong)

    @model_validator(mode="after")
    def _known(self) -> StressUse:
        for name in self.min_withheld:
            if name not in (DRAWN, *CHANGED):
                raise ValueError(f"min_withheld: there is no kind {name}; known here: {', '.join((DRAWN, *CHANGED))}")
        names = [*WRONG, *CHANGED, DRAWN, PROPER, *(wrong.called for wrong in self.wrong)]
        for wrong in self.wrong:
            if names.count(wrong.called) > 1:
                raise ValueError(f"wrong: {wrong.called} is the name of another kind too; give {wrong.table} a name")
        return self


def own_tables(use: StressUse, dataset: Dataset | None) -> str:
    """Which wrong images are proper ones, in a sentence: so no test is opened; empty where none are."""
    own = [wrong.table for wrong in use.wrong if dataset is not None and wrong.table in dataset.tables]
    return f"[stress] wrong: {own[0]} is a table of [dataset], whose images are the model's own" if own else ""


class _File(Table):
    """A file that has ``[stress]`` alone."""

    stress: StressUse


def read_stress(path: Path) -> StressUse:
    """``[stress]`` of a file that has nothing else, for a bundle whose card has none.

    Raises:
        ConfigError: ``config.card-missing``, ``config.card-unreadable``, ``config.card-syntax``,
            ``config.card-invalid``, as for a card.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return _File.model_validate(tomllib.loads(text)).stress
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", code="config.card-missing", remedy="it has [stress]") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", code="config.card-unreadable") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(not_toml(path, text, str(error)), code="config.card-syntax") from error
    except ValidationError as error:
        told = "\n".join(mistakes(path, text, error, _File))
        raise ConfigError(told, code="config.card-invalid", remedy="see docs/reference/card.md") from error

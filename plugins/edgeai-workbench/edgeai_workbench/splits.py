"""``[dataset]`` of a card: where, below ``--data DIR``, the images and their labels are.

A split is a table of comma-separated values with a header row; each row is one sample. Its images are files beside
the table (PNG, JPEG or DICOM), or rows of an array in a ``.npz`` file.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, model_validator

from edgeai_workbench.tables import Relative, Sentence, Slug, Table

TEST: Final = "test"


class Split(Table):
    """``[dataset.train|validation|test|external]``: one table of samples, by the names of its columns."""

    table: Relative = Field(description="the table, below the data's folder")
    image: str = Field("", description="column: the image's file, relative to the table")
    array: str = Field(
        "", description="instead of `image`: `file.npz:key`, relative to the table; the first axis counts samples"
    )
    index: str = Field("", description="with `array`: column of the place in it; by default the row's own")
    label: str = Field("", description="classify: column of the label, as `values` translates it")
    labels: tuple[str, ...] = Field(
        (), strict=False, description="multi-label: one column of 0 and 1 for each label of the task, in order"
    )
    values: dict[str, Slug] = Field(
        default_factory=dict, description="value in the column -> label of the task; by default they are equal"
    )
    mask: str = Field(
        "",
        description="segment and detect: column of the mask's file, relative to the table; what is not 0 is the label",
    )
    truth: dict[str, Any] = Field(
        default_factory=dict,
        description="what is true, of any other task: key -> column, as the task's judge names the keys",
    )
    spacing_mm: tuple[str, ...] = Field(
        (), strict=False, max_length=2, description="columns: millimetres from row to row and from column to column"
    )
    group: str = Field(
        "", description="column of the patient or examination, which no fold of a cross-validation may split"
    )
    subgroups: tuple[str, ...] = Field(
        (), strict=False, description="columns that the report breaks the metrics down by"
    )
    modality: str = Field(
        "", description="Modality (0008,0060) of images that are no DICOM, so that eligibility can be checked"
    )
    parts: int = Field(
        1, ge=1, description="into how many parts the table's groups are dealt, as alike in what is true as can be"
    )
    stratify: str = Field(
        "",
        description="with `parts`: column that the parts are alike in, instead of in what is true; numbers by size",
    )
    part: tuple[int, ...] = Field(
        (), strict=False, description="which of these parts are this split, from 1; by default all"
    )

    def given(self) -> dict[str, Any]:
        """What the table says is true: key of the judge -> column, columns or setting."""
        short = {"label": self.label, "labels": list(self.labels), "values": self.values, "mask": self.mask}
        return {**{name: value for name, value in short.items() if value}, **self.truth}

    @model_validator(mode="after")
    def _one_source_of_pixels(self) -> Split:
        if bool(self.image) == bool(self.array):
            raise ValueError("exactly one of image and array must be given")
        return self

    @model_validator(mode="after")
    def _parts_that_there_are(self) -> Split:
        if any(not 1 <= number <= self.parts for number in self.part) or len(set(self.part)) != len(self.part):
            raise ValueError(f"part: {list(self.part)} are not numbers from 1 to parts, {self.parts}, each once")
        if self.parts > 1 and not self.part:
            raise ValueError(f"part: groups are dealt into {self.parts} parts, and nobody says which are this split")
        if self.stratify and self.parts == 1:
            raise ValueError("stratify: is of no use without parts, into which groups are dealt")
        return self


class Dataset(Table):
    """``[dataset]``: what the model was trained on, and what it is judged on."""

    train: Split = Field(description="fine-tuning and calibration read it")
    validation: Split = Field(
        description="what is chosen is chosen on it (epoch, variant, layers in float); no sample of it is trained on"
    )
    test: Split | None = Field(
        None, description="what was chosen is confirmed on it, by the last step of a build; without, validation judges"
    )
    external: Split | None = Field(
        None, description="another hospital's or device's samples, for `edgeai evaluate --split external` alone"
    )
    credit: Sentence | None = Field(None, description="how to name the data's makers")

    @property
    def tables(self) -> frozenset[str]:
        """Every table that it names."""
        splits = (self.train, self.validation, self.test, self.external)
        return frozenset(split.table for split in splits if split is not None)

"""What a card says of a table's truth, and the cells of one row that a task's judge reads it from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeai.api import Array, ConfigError, DataRejected, Judge
from edgeai_workbench import pictures
from edgeai_workbench.rows import Row
from edgeai_workbench.splits import Split


@dataclass(frozen=True, slots=True)
class TablePicture:
    """See ``edgeai.api.PictureFile``."""

    path: Path

    def load(self) -> Array:
        """(rows, columns) or (rows, columns, 3), as it is stored.

        Raises:
            DataRejected: ``data.file-unreadable``.
        """
        try:
            return pictures.pixels_of(self.path)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataRejected(f"{self.path}: cannot be read: {error}", code="data.file-unreadable") from error


@dataclass(frozen=True, slots=True)
class RowCells:
    """See ``edgeai.api.Cells``: ``row`` by what the card calls its columns."""

    row: Row
    given: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """Whether the card gives this key."""
        return name in self.given

    def columns(self, name: str) -> tuple[str, ...]:
        """What the table itself calls the column, or the columns."""
        value = self.given[name]
        return (value,) if isinstance(value, str) else tuple(value)

    def text(self, name: str) -> str:
        """A cell."""
        return self.row[self.columns(name)[0]]

    def number(self, name: str) -> float:
        """A finite number. Raises as ``Row.number``."""
        return self.row.number(self.columns(name)[0])

    def flags(self, name: str) -> tuple[bool, ...]:
        """Cells of 0 and 1. Raises as ``Row.flag``."""
        return tuple(self.row.flag(column) for column in self.columns(name))

    def picture(self, name: str) -> TablePicture:
        """The picture that a cell names. Raises as ``Row.file``."""
        return TablePicture(self.row.file(self.columns(name)[0]))

    def setting(self, name: str, default: Any = None) -> Any:
        """What the card says, of a setting."""
        return self.given.get(name, default)

    def wrong(self, what: str, *, code: str, remedy: str | None = None) -> DataRejected:
        """The error for this line."""
        return self.row.wrong(what, code=code, remedy=remedy)


def truth_columns(split: Split, judge: Judge) -> list[str]:
    """The table's columns that say what is true.

    Raises:
        ConfigError: ``config.card-column-unknown``: a key that the judge does not know, or of another kind.
    """
    known = {column.name: column for column in judge.columns}
    columns: list[str] = []
    for name, value in split.given().items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise _unknown(f"the task reads no {name!r} from a table{hint}", judge)
        kind = known[name].kind
        if kind == "column" and not (isinstance(value, str) and value):
            raise _unknown(f"{name} is {value!r}, not the name of one column", judge)
        if kind == "columns" and not _words(value):
            raise _unknown(f"{name} is {value!r}, not a list of columns", judge)
        if kind != "setting":
            columns += [value] if isinstance(value, str) else value
    return columns


def _words(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(word, str) and word for word in value)


def _unknown(what: str, judge: Judge) -> ConfigError:
    takes = "; ".join(f"{column.name}: {column.help}" for column in judge.columns) or "none"
    return ConfigError(f"[dataset]: {what}", code="config.card-column-unknown", remedy=f"it takes {takes}")

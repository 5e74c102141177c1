"""A table of comma-separated values, row by row; what is wrong in it is said with file and line."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeai.api import DataRejected


@dataclass(frozen=True, slots=True)
class Row:
    """One line. ``root`` is the data's folder, ``table`` the file below it."""

    root: Path
    table: Path
    line: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    def wrong(self, what: str, *, code: str, remedy: str | None = None) -> DataRejected:
        """The error for this line."""
        return DataRejected(f"{self.below(self.table)}:{self.line}: {what}", code=code, remedy=remedy)

    def below(self, path: Path) -> str:
        """A path as seen from the data's folder."""
        return path.relative_to(self.root).as_posix()

    def file(self, column: str) -> Path:
        """The file that a column names, relative to the table.

        Raises:
            DataRejected: ``data.outside``, ``data.file-missing``.
        """
        name = self.values[column]
        path = self.table.parent / name
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise self.wrong(
                f"{column} is {name!r}, which is no path below the table's folder",
                code="data.outside",
                remedy="write paths relative to the table, without ..",
            )
        if not path.is_file():
            raise self.wrong(f"{self.below(path)}: no such file", code="data.file-missing")
        return path

    def flag(self, column: str) -> bool:
        """0 or 1.

        Raises:
            DataRejected: ``data.value-invalid``.
        """
        if self.values[column] not in ("0", "1"):
            raise self._invalid(column, "0 or 1")
        return self.values[column] == "1"

    def whole(self, column: str, end: int) -> int:
        """A whole number from 0, below ``end``.

        Raises:
            DataRejected: ``data.value-invalid``.
        """
        text = self.values[column]
        if not (text.isascii() and text.isdigit()) or int(text) >= end:
            raise self._invalid(column, f"a whole number from 0 to {end - 1}")
        return int(text)

    def number(self, column: str) -> float:
        """A finite number.

        Raises:
            DataRejected: ``data.value-invalid``.
        """
        value = self._read(column)
        if not math.isfinite(value):
            raise self._invalid(column, "a number")
        return value

    def measure(self, column: str) -> float:
        """A number above 0.

        Raises:
            DataRejected: ``data.value-invalid``.
        """
        value = self._read(column)
        if not (math.isfinite(value) and value > 0):
            raise self._invalid(column, "a number above 0")
        return value

    def _read(self, column: str) -> float:
        """NaN where it is no number."""
        try:
            return float(self.values[column])
        except ValueError:
            return math.nan

    def _invalid(self, column: str, wanted: str) -> DataRejected:
        return self.wrong(f"{column} is {self.values[column]!r}, not {wanted}", code="data.value-invalid")


def read_table(root: Path, table: str, columns: Sequence[str]) -> list[Row]:
    """The rows of ``root / table``, which must have these columns.

    Raises:
        DataRejected: ``data.file-missing``, ``data.table-invalid``, ``data.column-missing``, ``data.empty``.
    """
    path = root / table
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(table, header, columns)
            return _rows(root, path, header, reader)
    except OSError as error:
        raise DataRejected(
            f"{path}: {error.strerror or error}",
            code="data.file-missing",
            remedy="see [dataset] of the card and --data",
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataRejected(f"{table}: no table of UTF-8 text: {error}", code="data.table-invalid") from error


def _check_header(table: str, header: Sequence[str], columns: Sequence[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataRejected(f"{table}:1: columns that are there twice: {', '.join(twice)}", code="data.table-invalid")
    for column in columns:
        if column not in header:
            near = difflib.get_close_matches(column, header, n=1, cutoff=0.5)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise DataRejected(
                f"{table}:1: no column {column!r}{hint}",
                code="data.column-missing",
                remedy=f"the table has {', '.join(header) or 'no header'}",
            )


def _rows(root: Path, path: Path, header: Sequence[str], reader: Any) -> list[Row]:
    rows = []
    for values in reader:
        if not values:  # an empty line, as editors leave at the end
            continue
        row = Row(root, path, reader.line_num, dict(zip(header, values, strict=False)))
        if len(values) != len(header):
            raise row.wrong(f"{len(values)} values for {len(header)} columns", code="data.table-invalid")
        rows.append(row)
    if not rows:
        raise DataRejected(f"{path.relative_to(root)}: no row", code="data.empty")
    return rows

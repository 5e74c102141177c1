"""A plugin's README says what its specs say: for a ``tests/test_readme.py``.

The form that is looked for: a heading of level 2, and under it a table with one row an option, whose first column is
the name, its default and its choices in columns of their own or in the text. Values stand as ``shown`` words them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgeai.api import OptionSpec


def shown(value: object) -> str:
    """A value as a table shows it: ```true```, ```8```; an empty text is ``empty``, no value ``none``."""
    if value == "":
        return "empty"
    if value is None or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def table_rows(readme: str, heading: str) -> dict[str, str]:
    """Name in the first column -> its row, of the tables under ``## HEADING``; empty where there is none."""
    _, _, section = f"\n{readme}".partition(f"\n## {heading}\n")
    section = section.partition("\n## ")[0]
    return {row[1]: row[0] for row in re.finditer(r"^\| `([\w-]+)` \|.*$", section, re.MULTILINE)}


def check_options(readme: str, heading: str, options: Iterable[OptionSpec]) -> None:
    """Each option has a row under ``heading``, with its default in a column and its choices; no row is of another.

    Raises:
        AssertionError: naming the heading, and the option whose row is wrong.
    """
    rows, known = table_rows(readme, heading), {option.name: option for option in options}
    assert set(rows) == set(known), f"{heading}: the README has {sorted(rows)}, the spec {sorted(known)}"
    for name, option in known.items():
        assert option.required or f"| {shown(option.default)} |" in rows[name], (
            f"{heading}: the default {shown(option.default)} is in no column of {rows[name]}"
        )
        missing = [shown(choice) for choice in option.choices if shown(choice) not in rows[name]]
        assert not missing, f"{heading}: no {', '.join(missing)} in {rows[name]}"


def run_example(readme: str) -> None:
    """Run the first block of Python in the README, with no names but its own.

    Raises:
        AssertionError: there is none.
        Exception: whatever the example raises.
    """
    block = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert block, "the README has no ```python block"
    exec(compile(block[1], "README.md", "exec"), {})  # noqa: S102  the author's own words

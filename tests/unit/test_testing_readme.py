"""What holds a plugin's README to its specs: it takes a README that says what they say, and no other."""

from __future__ import annotations

import pytest

from edgeai.api import OptionSpec
from edgeai.testing.readme import check_options, run_example, shown, table_rows

README = """# A plugin

## Settings

| setting | default | choices | what |
|---|---|---|---|
| `speed` | `auto` | `auto`, `fast` | how fast |
| `exact` | `true` | `true`, `false` | how exact |
| `keep` | none | | what to keep |
| `kind` | empty | empty, `new` | which |

## Precisions

| precision | what |
|---|---|
| `fp32` | as trained |
"""
SETTINGS = (
    OptionSpec(name="speed", help="", default="auto", choices=("auto", "fast")),
    OptionSpec(name="exact", help="", default=True, choices=(True, False)),
    OptionSpec(name="keep", help="", default=()),
    OptionSpec(name="kind", help="", default="", choices=("", "new")),
)


def test_a_readme_that_says_what_the_spec_says_is_taken() -> None:
    check_options(README, "Settings", SETTINGS)
    check_options(README, "Options", ())
    assert set(table_rows(README, "Precisions")) == {"fp32"}
    assert [shown(value) for value in (8, False, None)] == ["`8`", "`false`", "none"]


@pytest.mark.parametrize(
    ("there", "instead", "named"),
    [
        ("| `keep` | none | | what to keep |\n", "", "keep"),
        ("| `keep` |", "| `keep_all` |", "keep_all"),
        ("| `auto` | `auto`, `fast` |", "| `fast` | `auto`, `fast` |", "default `auto`"),
        ("| `true` | `true`, `false` |", "| `false` | `true`, `false` |", "default `true`"),
        ("| empty | empty, `new` |", "| none | empty, `new` |", "default empty"),
        ("`auto`, `fast`", "`auto`", "no `fast`"),
        ("## Settings", "## Setting", "Settings"),
    ],
)
def test_a_readme_that_says_something_else_is_not(there: str, instead: str, named: str) -> None:
    assert there in README
    with pytest.raises(AssertionError, match=named):
        check_options(README.replace(there, instead), "Settings", SETTINGS)


def test_rows_of_options_that_the_spec_does_not_have_are_found() -> None:
    with pytest.raises(AssertionError, match="speed"):
        check_options(README, "Settings", ())


def test_the_example_is_run_and_must_be_there() -> None:
    with pytest.raises(ZeroDivisionError):
        run_example("```python\n1 / 0\n```")
    with pytest.raises(AssertionError, match="no ```python block"):
        run_example(README)

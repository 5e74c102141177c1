"""README.md says what the specs say."""

from __future__ import annotations

import re
from pathlib import Path

from edgeai_openvino import BACKEND, CONVERTER

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def _rows(heading: str) -> dict[str, str]:
    """First column -> row, of the table under a heading."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {m[1]: m[0] for m in re.finditer(r"^\| `([\w-]+)` \|.*$", section, re.MULTILINE)}


def test_every_option_and_setting_is_in_its_table_with_its_default():
    for heading, options in (("Options", BACKEND.options), ("Settings", BACKEND.settings)):
        rows = _rows(heading) if options else {}
        assert set(rows) == {option.name for option in options}, heading
        for option in options:
            shown = str(option.default).lower() if isinstance(option.default, bool) else str(option.default)
            assert f"| `{shown}` |" in rows[option.name] or (not shown and "| empty |" in rows[option.name])
            for choice in option.choices:
                shown = str(choice).lower() if isinstance(choice, bool) else str(choice)
                assert f"`{shown}`" in rows[option.name]


def test_every_option_of_the_converter_is_in_its_table_with_its_choices():
    rows = _rows("Recipe options")
    assert set(rows) == {option.name for option in CONVERTER.options}
    for option in CONVERTER.options:
        for choice in option.choices:
            shown = str(choice).lower() if isinstance(choice, bool) else str(choice)
            assert not shown or f"`{shown}`" in rows[option.name]


def test_every_precision_is_named():
    assert set(_rows("Precisions")) == set(CONVERTER.precisions)


def test_the_example_runs():
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    exec(compile(code[1], "README.md", "exec"), {})

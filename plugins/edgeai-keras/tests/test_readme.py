"""README.md says what the specs say, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeai_keras.specs import COMPRESSORS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def _rows(heading: str) -> dict[str, str]:
    """First column -> row, of the tables under a heading."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {m[1]: m[0] for m in re.finditer(r"^\| `([\w-]+)` \|.*$", section, re.MULTILINE)}


@pytest.mark.parametrize("spec", COMPRESSORS, ids=lambda spec: spec.name)
def test_every_option_is_in_its_table_with_its_default(spec):
    rows = _rows(spec.name)
    assert list(rows) == [option.name for option in spec.options]
    for option in spec.options:
        default = str(option.default).lower() if isinstance(option.default, bool) else str(option.default)
        shown = {"": "empty", "()": "all" if option.name == "layers" else "none", "None": ""}.get(
            default, f"`{default}`"
        )
        assert f"| {shown} |".replace("|  |", "| |") in rows[option.name], option.name
        for choice in option.choices:
            assert f"`{str(choice).lower()}`" in rows[option.name], option.name


def test_every_augmentation_is_in_its_table():
    pytest.importorskip("tensorflow")
    from edgeai_keras.augment import AMOUNTS, FLIPS

    section = README.split("\n## Training\n", 1)[1].split("\n## ", 1)[0]
    assert {*AMOUNTS, *FLIPS} <= set(re.findall(r"`(\w+)`", section))


def test_the_example_runs(capsys):
    pytest.importorskip("tensorflow")
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    exec(compile(code[1], "README.md", "exec"), {})
    assert "80.0% of the kernels' weights are zero" in capsys.readouterr().out

"""README's option tables are what the specs declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeai.api import OptionSpec
from edgeai_tasks.classify import SPEC as CLASSIFY
from edgeai_tasks.detect import SPEC as DETECT
from edgeai_tasks.reconstruct import SPEC as RECONSTRUCT
from edgeai_tasks.regress import SPEC as REGRESS
from edgeai_tasks.segment import SPEC as SEGMENT

README = Path(__file__).parent.parent / "README.md"


def _row(option: OptionSpec) -> str:
    default = "required" if option.required else "none" if option.default is None else f"`{option.default!r}`"
    choices = ", ".join(f"`{choice}`" for choice in option.choices)
    text = option.help.replace("|", "\\|")
    return f"| `{option.name}` | {default} | {choices} | {text} |"


@pytest.mark.parametrize("spec", [CLASSIFY, SEGMENT, DETECT, REGRESS, RECONSTRUCT], ids=lambda spec: spec.name)
def test_readme_has_every_option(spec) -> None:  # type: ignore[no-untyped-def]
    text = README.read_text(encoding="utf-8")
    _, _, section = text.partition(f"\n### {spec.name}\n")
    section = section.partition("\n### ")[0].partition("\n## ")[0]
    assert spec.help in section, f"README has no section `{spec.name}` with its help text"
    table = section.partition("| --- | --- | --- | --- |\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [_row(option) for option in spec.options]

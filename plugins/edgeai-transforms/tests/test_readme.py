"""README's option tables are what the specs declare."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from edgeai.api import OptionSpec
from edgeai_transforms.specs import SPECS

README = Path(__file__).parent.parent / "README.md"


def _row(option: OptionSpec) -> str:
    default = "required" if option.required else "none" if option.default is None else f"`{option.default!r}`"
    choices = ", ".join(f"`{choice}`" for choice in option.choices)
    text = option.help.replace("|", "\\|")
    return f"| `{option.name}` | {default} | {choices} | {text} |"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_readme_has_every_option(spec) -> None:  # type: ignore[no-untyped-def]
    text = README.read_text(encoding="utf-8")
    _, _, section = text.partition(f"\n### {spec.name}\n")
    section = section.partition("\n### ")[0].partition("\n## ")[0]
    assert spec.help in section, f"README has no section `{spec.name}` with its help text"
    assert spec.source in section
    shown = [line for line in section.splitlines() if line.startswith("| `")]
    assert shown == [_row(option) for option in spec.options]


def test_readme_example_makes_a_tensor(step, frame_of) -> None:  # type: ignore[no-untyped-def]
    block = re.search(r"```json\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    frame = frame_of(
        np.random.default_rng(0).integers(0, 4096, (1200, 900)).astype(np.uint16),
        bits_stored=12,
        photometric_interpretation="MONOCHROME1",
    )
    for each in json.loads("{" + block[1] + "}")["transforms"]:
        frame = step(each["transform"], **each.get("options", {})).apply(frame)
    assert frame.pixels.shape == (224, 224, 3)
    assert frame.pixels.dtype == np.float32


def test_reference_page_has_every_step() -> None:
    page = README.parents[2] / "docs" / "reference" / "transforms.md"
    named = re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in named if name in {spec.name for spec in SPECS}][: len(SPECS)] == [s.name for s in SPECS]

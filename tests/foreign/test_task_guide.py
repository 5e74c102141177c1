"""The guide to a task from nothing shows the foreign task, file by file; what it adds to that does what it says."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest

from edgeai.api import FrameContext, Indeterminate, TaskRequest, TensorSpec
from edgeai.config import DeviceConfig
from edgeai.testing.examples import example_frame, instance_ref

HERE = Path(__file__).resolve().parent
GUIDE = (HERE.parents[1] / "docs/guides/task-in-an-hour.md").read_text(encoding="utf-8")
LENGTH = TensorSpec(name="length", dtype="float32", shape=(1, 1))


def _shown(name: str) -> str:
    blocks = re.findall(rf"<!-- {re.escape(name)} -->\n```\w+\n(.*?)```", GUIDE, re.DOTALL)
    assert blocks, f"the guide no longer shows {name}"
    return "\n".join(blocks)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "name", ["acme_gauge.py", "test_foreign_conformance.py", "draw.py.txt", "model.toml", "train.py.txt"]
)
def test_each_file_of_the_guide_is_the_one_that_is_tested(name: str) -> None:
    tested = (HERE / name).read_text(encoding="utf-8")
    assert _lines(_shown(name)) == _lines(tested.replace('module = "acme_gauge"', 'plugin = "acme-gauge"'))


def test_a_length_below_nothing_ends_without_a_statement_and_is_still_judged(tmp_path: Path) -> None:
    names = "from acme_gauge import *\nfrom edgeai.api import GuardFigure, Indeterminate, NoStatement\n"
    (tmp_path / "careful.py").write_text(names + _shown("careful"), encoding="utf-8")
    careful = runpy.run_path(str(tmp_path / "careful.py"))
    request = TaskRequest(options={"what": "radius"}, outputs=(LENGTH,))
    task, judge = careful["CarefulGauge"](request), careful["CarefulJudge"](request)
    context = FrameContext(frame=example_frame(number=1), instance=instance_ref(number_of_frames=1))
    (finding,) = task.interpret({"length": np.array([[2.0]], np.float32)}, context)
    assert finding.measurements[0].value == 2.0
    below = {"length": np.array([[-1.0]], np.float32)}
    with pytest.raises(Indeterminate, match="radius of -1 px") as ending:
        task.interpret(below, context)
    assert (ending.value.code, ending.value.figures[0].value) == ("acme.no-length", -1.0)
    assert judge.unanswered(ending.value, below, context) == -1.0


def test_its_profile_has_keys_that_there_are() -> None:
    DeviceConfig.model_validate({"device": {"id": "cart-1", "site": "trial"}, **tomllib.loads(_shown("profile"))})

"""Training again: the same bytes on the same kind of processor; elsewhere what differs, and how far."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgeai_workbench.golden import Golden
from edgeai_workbench.repetition import Recorded, processor, repetition

X86 = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse4_2 avx2 avx fma avx512f hypervisor

processor\t: 1
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu
"""
ARM = """\
processor\t: 0
Features\t: fp asimd evtstrm aes asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0c
"""


def say(tmp_path: Path, text: str) -> str:
    (tmp_path / "cpuinfo").write_text(text)
    return processor(tmp_path / "cpuinfo")


@pytest.fixture(autouse=True)
def no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS"):
        monkeypatch.delenv(name, raising=False)


def test_a_processor_is_its_model_its_cores_and_its_instruction_sets(tmp_path: Path) -> None:
    told = say(tmp_path, X86)
    assert told.startswith("Intel(R) Xeon(R) Processor (")
    assert told.endswith(f"{len(os.sched_getaffinity(0))} cores, sse4_2 avx avx2 fma avx512f")


def test_an_arm_processor_without_a_name_has_its_numbers(tmp_path: Path) -> None:
    told = say(tmp_path, ARM)
    assert told.startswith("implementer 0x41 part 0xd0c (")
    assert told.endswith("asimd asimddp")


@pytest.mark.parametrize("text", ["", "no colon\n", "model name:\nflags:\n"])
def test_an_unknown_processor_is_said_to_be_unknown(tmp_path: Path, text: str) -> None:
    assert say(tmp_path, text).endswith("instruction sets unknown")
    assert processor(tmp_path / "nowhere").endswith("instruction sets unknown")


def test_a_limit_on_the_instruction_sets_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert say(tmp_path, X86).endswith("avx512f, ONEDNN_MAX_CPU_ISA=AVX2")


def case(answer: float, pixel: float = 0.5, name: str = "one") -> Golden:
    return Golden(
        id=name,
        inputs={"image": np.full((1, 2, 2, 1), pixel, np.float32)},
        outputs={"logits": np.array([[answer, 4.0]], np.float32)},
    )


def recorded(model: str, **more: object) -> Recorded:
    usual = {"data": "sha256:d", "processor": "A, avx2", "environment": {"keras": "3.1"}, "golden": (case(1.0),)}
    return Recorded(model=model, **{**usual, **more})  # type: ignore[arg-type]


def test_the_same_bytes_are_the_same_wherever_they_were_made() -> None:
    assert "byte by byte" in repetition(recorded("m"), recorded("m", processor="B, avx512f"))


def test_another_processor_is_named_and_the_answers_are_held_against_the_old() -> None:
    told = repetition(recorded("m"), recorded("n", processor="B, avx512f", golden=(case(1.25),)))
    assert told == (
        "Other weights than the card had: processor was A, avx2, is B, avx512f. "
        "Answers to the golden cases are off by 0.25 at most, where the largest is 4."
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"environment": {"keras": "3.2"}}, "keras was 3.1, is 3.2"),
        ({"environment": {}}, "keras was 3.1, is not there"),
        ({"environment": {"keras": "3.1", "numpy": "2"}}, "numpy was not recorded, is 2"),
        ({"data": "sha256:e"}, "other samples"),
        ({}, "was the script changed?"),
    ],
)
def test_whatever_else_differs_is_named_too(changed: dict[str, object], words: str) -> None:
    assert words in repetition(recorded("m"), recorded("n", **changed))


def test_samples_that_were_not_recorded_are_not_said_to_differ() -> None:
    assert "samples" not in repetition(recorded("m", data=None), recorded("n", processor="B"))


@pytest.mark.parametrize(
    "golden",
    [(), (case(1.0, pixel=0.6),), (case(1.0, name="two"),), (case(1.0), case(1.0, name="two"))],
    ids=["none", "other pixels", "another case", "one more"],
)
def test_answers_to_other_questions_are_not_compared(golden: tuple[Golden, ...]) -> None:
    assert "golden" not in repetition(recorded("m"), recorded("n", processor="B", golden=golden))

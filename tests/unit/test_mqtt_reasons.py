"""The tables of ``docs/reference/mqtt.md`` are those that are kept to, and each code of the Standard is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edgeai.mqtt.reasons import BLAMED, PATIENCE, PUBACK, TAKEN_OVER, answer_to

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/mqtt.md").read_text(encoding="utf-8")


def table(first: str) -> dict[int, tuple[str, str, str]]:
    """Code -> (name, meaning, our code), of the table whose first column is called so."""
    rows = PAGE.split(f"| {first} |")[1].split("\n\n")[0]
    matches = re.findall(r"^\| 0x([0-9A-F]{2}) \| ([^|]+) \| (\w+) \| (?:`([a-z.-]+)`)? ?\|$", rows, re.MULTILINE)
    return {int(code, 16): (name, meaning, ours) for code, name, meaning, ours in matches}


def test_the_page_says_what_each_code_of_a_puback_means() -> None:
    page = {code: (meaning, ours) for code, (_, meaning, ours) in table("PUBACK").items()}
    assert page == {code: (answer.meaning, answer.code) for code, answer in PUBACK.items()}


def test_every_code_that_a_puback_may_have_is_there_under_its_name() -> None:
    names = {code: name for code, (name, _, _) in table("PUBACK").items()}
    standard = ReasonCode(PacketTypes.PUBACK).names  # type: ignore[attr-defined]
    of_puback = {c: n for c, by in standard.items() for n, kinds in by.items() if PacketTypes.PUBACK in kinds}
    assert set(names) == set(of_puback)
    assert {code: name.lower() for code, name in names.items()} == {c: n.lower() for c, n in of_puback.items()}


def test_the_page_says_what_each_reason_to_hang_up_means() -> None:
    page = {code: (meaning, ours) for code, (_, meaning, ours) in table("DISCONNECT").items()}
    assert page == {
        **{code: ("refused", ours) for code, ours in BLAMED.items()},
        **{code: ("later", ours) for code, ours in PATIENCE.items()},
        TAKEN_OVER: ("later", "mqtt.session-taken-over"),
    }


@pytest.mark.parametrize("code", [0x81, 0x8E, 0x9E, 0xA2, 0xFF])
def test_a_failure_that_is_not_foreseen_is_doubtful(code: int) -> None:
    assert (answer_to(code).meaning, answer_to(code).code) == ("doubtful", "mqtt.refused")

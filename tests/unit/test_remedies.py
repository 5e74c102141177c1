"""Whatever a deployment is held for, the event, the account and the result say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.api import EdgeaiError
from edgeai.owners import owner_of
from edgeai.remedies import _AREAS, _CODES, remedy_for
from edgeai.spool import Spool

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
DOCUMENTED = sorted(set(re.findall(r"^\| `([a-z]+\.[a-z0-9-]+)` \|", REFERENCE, re.MULTILINE)))
NOT_THE_IMAGES = [code for code in DOCUMENTED if owner_of(code) != "image"]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool")
    opened.enable_sinks(["jsonl"])
    yield opened
    opened.close()


def last_event(spool: Spool) -> dict[str, object]:
    with spool.db.read() as db:
        body = db.execute("SELECT body FROM messages ORDER BY sequence DESC LIMIT 1").fetchone()[0]
    facts = json.loads(body)["facts"]
    assert isinstance(facts, dict)
    return facts


def test_every_reason_that_holds_a_deployment_has_a_remedy(spool: Spool) -> None:
    assert len(NOT_THE_IMAGES) > 150
    for code in [*NOT_THE_IMAGES, "backend.of-a-plugin-from-elsewhere", "acme.unheard-of"]:
        spool.hold("guard", EdgeaiError("it does not open", code=code))
        remedy = last_event(spool)["remedy"]
        assert isinstance(remedy, str), code
        assert len(remedy) > 10, code
        [hold] = spool.holds()
        assert (hold.code, hold.remedy) == (code, remedy)


def test_who_raises_an_error_knows_best(spool: Spool) -> None:
    spool.hold("guard", EdgeaiError("no", code="bundle.wrong-hash", remedy="ask the night shift"))
    assert last_event(spool)["remedy"] == "ask the night shift"


@pytest.mark.parametrize("code", ["bundle.not-a-bundle", "bundle.wrong-hash", "bundle.cache-unwritable", "keys.bounds"])
def test_what_is_said_speaks_of_the_thing(code: str) -> None:
    thing = {"bundle.not-a-bundle": "`bundle`", "bundle.cache-unwritable": "data_dir", "keys.bounds": "trust"}
    assert thing.get(code, "fetch") in remedy_for(code)


def test_the_table_names_codes_and_areas_that_there_are() -> None:
    assert sorted(set(_CODES) - set(DOCUMENTED)) == []
    assert sorted(set(_AREAS) - {code.partition(".")[0] for code in DOCUMENTED}) == []

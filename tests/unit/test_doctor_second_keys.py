"""What doctor says of ``[trust] approvers`` and ``acceptors``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgeai.bundle.keys import make_keys
from edgeai.config import load_config
from edgeai.doctor.checks import Check
from edgeai.doctor.second_keys import second_keys

BOTH = '[trust]\nkeys = "trust"\napprovers = "approvers"\nacceptors = "acceptors"\n'


class Keys:
    """Key files of a cart, by folder and name."""

    def __init__(self, at: Path) -> None:
        self.at = at
        for folder in ("trust", "approvers", "acceptors", "made"):
            (at / folder).mkdir()

    def put(self, name: str, *folders: str) -> str:
        """A public key in these; its id."""
        pair = make_keys(name, self.at / "made")
        for folder in folders:
            shutil.copy(pair.public.path, self.at / folder)
        return pair.public.key_id

    def checks(self, more: str = BOTH) -> dict[str, Check]:
        path = self.at / "profile.toml"
        path.write_text(f'[device]\nid = "cart"\nsite = "lab"\n{more}')
        return {check.what: check for check in second_keys(load_config(path))}

    def verdicts(self, more: str = BOTH) -> tuple[str, str]:
        checks = self.checks(more)
        return checks["trust.approvers"].verdict, checks["trust.acceptors"].verdict


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def test_keys_of_their_own_are_named(keys: Keys) -> None:
    keys.put("release", "trust")
    keys.put("carol", "approvers")
    keys.put("ward", "acceptors")
    checks = keys.checks()
    assert {check.verdict for check in checks.values()} == {"ok"}
    assert checks["trust.approvers"].found.endswith("approvers: carol")


def test_a_profile_without_them_hears_nothing_of_them(keys: Keys) -> None:
    assert keys.checks("") == {}


def test_folders_without_a_key_and_folders_that_are_not_there_fail(keys: Keys) -> None:
    (keys.at / "acceptors").rmdir()
    checks = keys.checks()
    assert keys.verdicts() == ("fail", "fail")
    assert "no key in" in checks["trust.approvers"].found
    assert "acceptors is missing: no report of `edgeai accept` counts here" in checks["trust.acceptors"].found


@pytest.mark.parametrize("content", [None, b"no key at all"])
def test_what_is_no_public_key_fails_with_its_remedy(keys: Keys, content: bytes | None) -> None:
    private = make_keys("carol", keys.at / "made").private
    (keys.at / "approvers/carol.pub").write_bytes(content or private.read_bytes())
    check = keys.checks()["trust.approvers"]
    assert (check.verdict, "carol.pub" in check.found) == ("fail", True)
    assert check.remedy
    assert content or "replace that key" in check.remedy


def test_a_key_that_ended_and_one_that_soon_will(keys: Keys) -> None:
    keys.put("carol", "approvers", "acceptors")
    bounds = "[keys.carol]\nends = 2001-01-01\n"
    (keys.at / "approvers/trust.toml").write_text(bounds)
    check = keys.checks()["trust.approvers"]
    assert (check.verdict, "carol (ended on 2001-01-01)" in check.found) == ("fail", True)
    keys.put("dave", "approvers")
    assert keys.verdicts() == ("warn", "ok"), "one is left"


def test_a_key_that_signs_bundles_approves_none(keys: Keys) -> None:
    keys.put("release", "trust", "approvers", "acceptors")
    checks = keys.checks()
    assert keys.verdicts() == ("fail", "fail")
    assert "release (signs bundles too)" in checks["trust.approvers"].found
    keys.put("carol", "approvers", "acceptors")
    assert keys.verdicts() == ("warn", "warn")


def test_a_key_of_the_repository_is_no_second_one(keys: Keys) -> None:
    name = keys.put("targets", "approvers")
    keys.put("ward", "acceptors")
    root = keys.at / "root.json"
    where = f'{BOTH}[repository]\nurl = "https://models.example"\nroot = "root.json"\n'
    root.write_text(json.dumps({"signed": {"roles": {"targets": {"keyids": [name], "threshold": 1}}}}))
    assert keys.verdicts(where) == ("fail", "ok")
    assert "targets (signs the repository's targets too)" in keys.checks(where)["trust.approvers"].found
    for damaged in ("", "[]", '{"signed": 5}', '{"signed": {"roles": {"targets": 1}}}'):
        root.write_text(damaged)
        assert keys.verdicts(where) == ("ok", "ok"), "of a damaged root another check speaks"

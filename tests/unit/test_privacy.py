"""What leaves the device instead of UIDs."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgeai.api import ConfigError, Failure, Finding, Note, Outcome
from edgeai.config import Privacy
from edgeai.privacy import UidMask
from edgeai.roles.identities import Identities
from edgeai.spool import Job
from edgeai.testing.examples import instance_ref
from edgeai.testing.spools import result_of


def privacy(tmp_path: Path, key: bytes) -> Privacy:
    path = tmp_path / "key"
    path.write_bytes(key)
    return Privacy(uids="hmac", hmac_key_file=path)


def test_without_a_key_nothing_changes() -> None:
    ids = UidMask.of(Privacy()).ids(instance_ref())
    assert (ids.sop_instance_uid, ids.hashed) == ("2.25.1001", False)


def test_with_a_key_each_uid_is_its_hmac(tmp_path: Path) -> None:
    key = b"k" * 32
    mask = UidMask.of(privacy(tmp_path, key + b"\n"))
    ids = mask.ids(instance_ref(series_instance_uid=""))
    assert ids.sop_instance_uid == hmac.new(key, b"2.25.1001", hashlib.sha256).hexdigest()
    assert ids.study_instance_uid == mask.uid("2.25.1003") != ids.sop_instance_uid
    assert (ids.series_instance_uid, ids.modality, ids.hashed) == ("", "US", True)
    assert "2.25.1001" not in mask.text("file of 2.25.1001 is odd", instance_ref())


def test_no_sentence_of_a_result_names_the_image(tmp_path: Path) -> None:
    """Neither why it has none, nor a note of it or of a single finding: a task may write what it likes."""
    told = "2.25.1001 of 2.25.1003 is odd"
    note = Note(code="acme.odd", text=told)
    finding = Finding(kind="class", label="head", present=True, notes=(note,))
    job = Job(id=1, deployment="head", path=tmp_path, instance=instance_ref(), owner="", received_at=0, claimed_at=0)
    failure = Failure(code="task.failed", message=told, remedy=told)
    result = replace(result_of(job, findings=(finding,)), notes=(note,))
    failed = replace(result, outcome=Outcome.FAILED, findings=(), engine=None, reason=failure)
    identities = Identities("head", UidMask.of(privacy(tmp_path, b"k" * 32)))
    for each in (result, failed):
        body = identities.masked(job, each).as_dict()
        masked = json.dumps([body[name] for name in ("reason", "notes", "findings")])
        assert "is odd" in masked
        assert "2.25." not in masked
    plain = Identities("head", UidMask()).masked(job, result)
    assert (plain.findings, plain.notes) == (result.findings, result.notes)


@pytest.mark.parametrize("key", [b"", b"short", b"k" * 31, b"k" * 31 + b"\n"])
def test_a_short_key_is_refused(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(ConfigError) as refused:
        UidMask.of(privacy(tmp_path, key))
    assert refused.value.code == "config.hmac-key"


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        UidMask.of(Privacy(uids="hmac", hmac_key_file=tmp_path / "absent"))

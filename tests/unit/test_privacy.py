"""What leaves the device instead of UIDs."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from edgeai.api import ConfigError
from edgeai.config import Privacy
from edgeai.privacy import UidMask
from edgeai.testing.examples import instance_ref


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


@pytest.mark.parametrize("key", [b"", b"short", b"k" * 31, b"k" * 31 + b"\n"])
def test_a_short_key_is_refused(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(ConfigError) as refused:
        UidMask.of(privacy(tmp_path, key))
    assert refused.value.code == "config.hmac-key"


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        UidMask.of(Privacy(uids="hmac", hmac_key_file=tmp_path / "absent"))

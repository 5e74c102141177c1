"""A cart whose bundle is a folder with some of its artifacts runs, and says of the others that they are not fetched."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeai.bundle.manifest import FileDecl, digest_of, encode_manifest
from edgeai.bundle.partial import HELD_NAME, Held, encode_held
from edgeai.bundle.reader import open_bundle
from edgeai.config import load_config
from edgeai.doctor.engines import look_at_bundle

pytestmark = pytest.mark.slow


def deploy_part(cart: Any, holds: str) -> str:
    """The bundle of the profile with one more artifact, as a folder that holds one of the two; its digest."""
    whole = open_bundle(cart.folder / "guard.edgeai", cache_dir=cart.folder / "cache")
    root: Path = shutil.copytree(whole.root, cart.folder / "part")
    first = whole.manifest.artifacts[0]
    second = msgspec.structs.replace(first, id="fake-int8", precision="int8", path="small/model.fake")
    data = (root / first.path).read_bytes()
    files = {**whole.manifest.files, second.path: FileDecl(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))}
    manifest = encode_manifest(msgspec.structs.replace(whole.manifest, artifacts=(first, second), files=files))
    (root / "manifest.json").write_bytes(manifest)
    if holds == second.id:
        (root / "small").mkdir()
        (root / first.path).rename(root / second.path)
    (root / HELD_NAME).write_bytes(encode_held(Held(digest=digest_of(manifest), artifacts=(holds,))))
    cart.profile.write_text(cart.profile.read_text().replace('"guard.edgeai"', '"part"'))
    return digest_of(manifest)


@pytest.mark.parametrize(("holds", "lacks"), [("fake-fp32", "fake-int8"), ("fake-int8", "fake-fp32")])
def test_it_runs_what_it_holds_and_says_what_it_does_not(cart: Any, until: Any, holds: str, lacks: str) -> None:
    cart.configure()
    digest = deploy_part(cart, holds)
    config = load_config(cart.profile)
    line = look_at_bundle(config.deployments[0], config).check
    assert (line.verdict, line.found.partition("; ")[2]) == ("ok", f"not fetched: {lacks}")
    cart.start()
    cart.ready()
    detail = cart.spool.notes()["infer:guard"].detail
    assert any(f"with {lacks}: not fetched" in why for why in detail["others"])
    assert detail["degraded"] is (lacks == "fake-fp32"), "the first artifact of the manifest is what is wished for"
    result = cart.result_of(cart.admit())
    assert (result["outcome"], result["model"]["digest"]) == ("completed", digest)
    assert result["engine"]["artifact"] == holds
    assert cart.stop() == 0


def test_a_file_that_is_gone_is_damage_and_not_a_part(cart: Any, until: Any) -> None:
    cart.configure()
    deploy_part(cart, "fake-fp32")
    (cart.folder / "part" / "model.fake").unlink()
    cart.start()
    cart.admit()
    [event] = until(lambda: cart.events("deployment.held"))
    assert event["facts"]["code"] == "bundle.missing-file"
    assert cart.stop() == 0

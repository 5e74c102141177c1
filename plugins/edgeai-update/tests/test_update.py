"""An update from the offer to the slot: what is fetched, what is linked, what is installed, and what is said."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from edgeai.bundle.partial import read_held
from edgeai.bundle.reader import read_manifest, verify_folder
from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer

pytestmark = pytest.mark.slow


def test_a_release_comes_from_a_server_and_is_installed_beside_what_runs(
    cart: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    answer = cart.update()
    assert (answer["outcome"], answer["release"], answer["version"]) == ("installed", 2, "2.0.0")
    slots = cart.slots.read()
    assert slots.running.release == 1
    assert (slots.active, slots.of(slots.spare).stage) == ("a", "installed")
    root = cart.slots.content("b")
    bundle = verify_folder(root)
    assert (bundle.manifest.release, bundle.digest) == (2, answer["digest"])


def test_only_what_the_engines_here_open_is_fetched_and_what_is_here_is_linked(
    cart: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    answer = cart.update()
    root = cart.slots.content("b")
    manifest, digest = read_manifest(root)
    held = read_held(root, manifest, digest)
    assert held is not None
    assert held.artifacts == ("fake-fp32",)
    assert not (root / "artifacts/strange-fp32").exists()
    sent = [each.path for each in server.asked if each.path.startswith("blobs/")]
    contents = {manifest.files[name].sha256 for name in ("artifacts/fake-fp32/model.weights", "notes.txt")}
    assert contents <= {path.rpartition("/")[2] for path in sent}
    shared = manifest.files["golden/shared.bin"].sha256
    assert f"blobs/sha256/{shared}" not in sent
    assert (root / "golden/shared.bin").stat().st_ino == (cart.slots.content("a") / "golden/shared.bin").stat().st_ino
    assert answer["kept_files"] >= 1
    assert answer["fetched_bytes"] < answer["share_bytes"] < answer["whole_bytes"]
    assert not list((cart.kept / "blobs").iterdir())


def test_without_once_it_is_only_said(cart: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    status, out, _ = cart.call()
    assert status == 0
    assert "tiny 2.0.0, release 2 is offered" in out
    assert not [each for each in server.asked if each.path.startswith("blobs/")]
    assert cart.slots.read().a is None


def test_what_runs_is_what_is_offered_and_nothing_is_fetched(cart: Any, server: ScriptedServer) -> None:
    cart.serve(server.url)
    answer = cart.update()
    assert answer["outcome"] == "current"
    assert not [each for each in server.asked if each.path.startswith(("blobs/", "targets/"))]
    assert cart.slots.read().running.release == 1


def test_what_is_installed_waits_and_is_not_fetched_again(cart: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    cart.update()
    seen = len(server.asked)
    assert cart.update()["outcome"] == "ready"
    assert not [each for each in server.asked[seen:] if each.path.startswith("blobs/")]


def test_a_newer_one_takes_the_place_of_one_that_waits_and_keeps_its_files(
    cart: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    """What lay in the slot that is written over is there all the same, where the next release has it too."""
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    cart.update()
    late = read_manifest(cart.slots.content("b"))[0].files["golden/late.bin"].sha256
    assert f"blobs/sha256/{late}" in {each.path for each in server.asked}
    ops.offer(ops.bundle("tiny", 3))
    seen = len(server.asked)
    answer = cart.update()
    assert (answer["outcome"], answer["release"]) == ("installed", 3)
    assert f"blobs/sha256/{late}" not in {each.path for each in server.asked[seen:]}
    assert verify_folder(cart.slots.content("b")).manifest.release == 3
    assert cart.slots.read().b.release == 3
    assert not (cart.kept / "members").exists()


def test_a_stick_does_what_a_server_does(cart: Any, ops: OpsTeam) -> None:
    cart.rewrite()
    ops.offer(ops.bundle("tiny", 2))
    shutil.copytree(ops.public, cart.at / "stick")
    assert cart.update("--from", cart.at / "stick")["outcome"] == "installed"
    assert cart.update("--from", ops.repo)["outcome"] == "ready"


def test_a_model_that_nobody_offers_is_no_mistake(cart: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    other = ops.bundle("other", 1)
    shutil.copyfile(other, cart.at / "first.edgeai")
    cart.serve(server.url)
    status, out, _ = cart.call("--once")
    assert (status, out) == (0, "guard: the repository offers nothing of other\n")


def test_another_backend_in_the_profile_fetches_what_it_needs(cart: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    cart.backends = ["fake-absent"]
    cart.rewrite()
    answer = cart.update()
    assert (answer["outcome"], answer["code"]) == ("refused", "backend.no-candidate")
    assert not [each for each in server.asked if each.path.startswith("blobs/")]

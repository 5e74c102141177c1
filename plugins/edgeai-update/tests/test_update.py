"""An update from the offer to the slot: what is fetched, what is linked, what is installed, and what is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeai.bundle.partial import read_held
from edgeai.bundle.reader import read_manifest, verify_folder
from edgeai.testing.distributions import write_fake_distribution
from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer

pytestmark = pytest.mark.slow
STRANGE = """
from edgeai.api import hookimpl
from edgeai.testing import fakes
from dataclasses import replace
EDGEAI_API = (1, 0)
@hookimpl
def edgeai_backends():
    return (replace(fakes.backend("strange"), artifact_format="strange"),)
"""


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


def test_a_cart_that_slept_through_new_keys_comes_along_through_all_roots(
    cart: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    cart.serve(server.url)
    for number in range(3):
        old, new = ("targets" if not number else f"targets-{number}"), f"targets-{number + 1}"
        ops.do("rotate-key", ops.repo, "targets", "--out", old, "--in", ops.pub(new))
        ops.sign("root", old, new)
        ops.publish()
    ops.offer(ops.bundle("tiny", 2), by="targets-3")
    assert cart.update()["outcome"] == "installed"
    assert (cart.kept / "metadata/root_history/4.root.json").exists()


def test_a_vendors_model_comes_from_the_vendors_own_role(cart: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    shutil.copyfile(ops.bundle("lung", 1), cart.at / "first.edgeai")
    cart.serve(server.url)
    ops.do("delegate", ops.repo, "acme", "--to", ops.pub("acme"), "--model", "lung")
    ops.sign("targets", "acme")
    ops.publish()
    assert cart.update()["outcome"] == "none"
    ops.offer(ops.bundle("lung", 2), by="acme")
    answer = cart.update()
    assert (answer["outcome"], answer["model"], answer["release"]) == ("installed", "lung", 2)


def test_two_deployments_of_one_model_fetch_it_once(cart: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    cart.more = '[[deployments]]\nname = "second"\nbundle = "first.edgeai"\nbackends = ["fake-works"]\nupdates = true\n'
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    first, second = cart.told("--once")["deployments"]
    assert (first["outcome"], second["outcome"]) == ("installed", "installed")
    sent = [each.path for each in server.asked if each.path.startswith("blobs/")]
    assert len(sent) == len(set(sent))


def test_a_deployment_that_takes_no_updates_is_left_alone(cart: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    cart.serve(server.url)
    text = cart.profile.read_text()
    cart.profile.write_text(text.replace("updates = true\n", ""))
    status, _, err = cart.call("--once")
    assert status == 2
    assert "error[update.not-configured]: no deployment of this profile takes updates" in err
    assert server.asked == []


def test_a_profile_that_opens_more_fetches_what_is_not_held(
    cart: Any, ops: OpsTeam, server: ScriptedServer, tmp_path: Path
) -> None:
    """The same bundle comes again, with one artifact more, and only that is fetched."""
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    cart.update()
    cart.slots.rehearsed()
    cart.slots.activate(1)
    cart.slots.counted(completed=1)
    cart.slots.prove()
    assert cart.update()["outcome"] == "current"
    write_fake_distribution(tmp_path / "plugins", name="strange", module_source=STRANGE)
    cart.backends = ["fake-works", "strange"]
    cart.rewrite()
    cart.profile.write_text(cart.profile.read_text().replace('allow = ["fakes"]', 'allow = ["fakes", "strange"]'))
    seen = len(server.asked)
    assert cart.update()["outcome"] == "installed"
    assert len([each for each in server.asked[seen:] if each.path.startswith("blobs/")]) == 1
    assert (cart.slots.content("a") / "artifacts/strange-fp32/model.strange").exists()

"""Each key of a repository stolen: what a thief can make a cart do, and what not (docs/guides/threat-model.md)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, MetaFile, TargetFile

from edgeai.bundle.signing import signer_of
from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("known_engines")]
ONLINE = ("snapshot", "timestamp")
Change = Callable[[Any], None]


class Thief:
    """Who holds some keys, the server, and a stranger's key of its own for everything else.

    Args:
        ops: whose repository it is.
        stolen: names of keys.
    """

    def __init__(self, ops: OpsTeam, *stolen: str) -> None:
        self._folder = ops.public / "metadata"
        self.signers = [signer_of(ops.key(name), lambda what: "") for name in (*stolen, "stranger")]

    def newest(self, role: str) -> Path:
        if role == "timestamp":
            return self._folder / "timestamp.json"
        return max(self._folder.glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))

    def forge(self, role: str, change: Change, *, rise: int = 1) -> tuple[int, bytes]:
        """The next version of a role, signed by whatever the thief holds."""
        metadata: Metadata[Any] = Metadata.from_file(str(self.newest(role)))
        metadata.signed.version += rise
        change(metadata.signed)
        metadata.signatures.clear()
        for signer in self.signers:
            metadata.sign(signer, append=True)
        name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        data = metadata.to_bytes()
        (self._folder / name).write_bytes(data)
        return metadata.signed.version, data

    def show(self, role: str, change: Change) -> None:
        """Forge a role below root, and all that leads to it."""
        version, data = self.forge(role, change)

        def lead(snapshot: Any) -> None:
            snapshot.meta[f"{role}.json"] = MetaFile.from_data(version, data, ["sha256"])

        self.show_snapshot(lead)

    def show_snapshot(self, change: Change) -> None:
        version, data = self.forge("snapshot", change)

        def lead(timestamp: Any) -> None:
            timestamp.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])

        self.forge("timestamp", lead)


def lists(path: str = "models/tiny/9.json") -> Change:
    """That something is offered; what, no cart should ever ask."""

    def change(targets: Any) -> None:
        targets.targets[path] = TargetFile.from_data(path, b"{}")

    return change


def withdraws(path: str) -> Change:
    def change(targets: Any) -> None:
        del targets.targets[path]

    return change


@pytest.fixture
def served(cart: Any, server: ScriptedServer) -> Any:
    cart.serve(server.url)
    assert cart.update()["outcome"] == "current"
    return cart


def came_of_it(cart: Any, server: ScriptedServer) -> str:
    """The code, or the outcome; what ran still runs, and no blob was asked for."""
    before = cart.slots.read().running
    server.asked.clear()
    answer = cart.update()
    assert cart.slots.read().running == before
    assert not [each.path for each in server.asked if each.path.startswith("blobs/")]
    return str(answer["code"] or answer["outcome"])


@pytest.mark.parametrize(
    "stolen",
    [
        (),
        ("timestamp",),
        ("snapshot",),
        ONLINE,
        ("targets",),
        ("targets", "timestamp"),
        ("targets", "rollouts", "snapshot"),
        ("rollouts", *ONLINE),
        ("release", *ONLINE),
    ],
    ids=lambda value: "+".join(value) or "none",
)
def test_what_is_offered_is_believed_by_three_keys_together(
    served: Any, ops: OpsTeam, server: ScriptedServer, stolen: tuple[str, ...]
) -> None:
    """Of bundles' signers ("release") no repository knows."""
    Thief(ops, *stolen).show("targets", lists())
    assert came_of_it(served, server) == "update.untrusted"


def test_targets_in_the_place_of_those_that_are_led_to_are_mixed(
    served: Any, ops: OpsTeam, server: ScriptedServer, tmp_path: Path
) -> None:
    served.kept.rename(tmp_path / "forgotten")  # a cart that has not seen them yet asks for them
    Thief(ops, "targets").forge("targets", lists(), rise=0)
    assert came_of_it(served, server) in ("update.mixed", "update.oversize")


def test_the_online_keys_show_nothing_older_than_was_seen(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    old = Metadata.from_file(str(Thief(ops).newest("snapshot"))).signed.meta["targets.json"]
    ops.offer(ops.bundle("tiny", 2))
    served.call()

    def lead_back(snapshot: Any) -> None:
        snapshot.meta["targets.json"] = old

    Thief(ops, *ONLINE).show_snapshot(lead_back)
    assert came_of_it(served, server) == "update.rolled-back"


def test_the_online_keys_hold_updates_back_and_no_more(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    before = {path.name: path.read_bytes() for path in (ops.public / "metadata").iterdir()}
    ops.offer(ops.bundle("tiny", 2))
    for path in (ops.public / "metadata").iterdir():
        if path.name in before:
            path.write_bytes(before[path.name])
    Thief(ops, *ONLINE).forge("timestamp", lambda signed: None)
    assert came_of_it(served, server) == "current"


def test_all_keys_of_the_repository_offer_nothing_older_than_what_runs(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    shutil.rmtree(served.at / "var/slots")
    shutil.copyfile(ops.bundle("tiny", 5), served.at / "first.edgeai")
    ops.offer(ops.bundle("tiny", 2))
    Thief(ops, "targets", *ONLINE).show("targets", withdraws("models/tiny/2.json"))
    assert served.update()["code"] == "bundle.rolled-back"
    assert served.slots.read().running.release == 5


def offers_a_strangers_model(ops: OpsTeam, signer: str) -> None:
    """With the tools of ops, which are told to trust whoever signed it."""
    shutil.copyfile(ops.pub(signer), ops.repo / f"trust/{signer}.pub")
    ops.offer(ops.bundle("tiny", 2, signed=signer))


def test_all_keys_of_the_repository_run_nothing_that_the_carts_own_keys_did_not_sign(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    offers_a_strangers_model(ops, "stranger")
    assert came_of_it(served, server) == "bundle.untrusted"


def test_a_bundles_key_with_the_repositorys_runs_a_model_unless_two_have_to_sign(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    """The one row in which answers change."""
    offers_a_strangers_model(ops, "release")
    served.more = "[trust]\nthreshold = 2\n"
    served.rewrite()
    shutil.copyfile(ops.pub("second"), served.at / "trust/second.pub")
    assert came_of_it(served, server) == "bundle.untrusted"
    served.more = ""
    served.rewrite()
    assert served.update()["outcome"] == "installed"


# --- root, delegations, rotation ------------------------------------------------------------------------


def names_its_own_keys(ops: OpsTeam, thief: Thief) -> Change:
    def change(root: Any) -> None:
        for role in ("targets", *ONLINE):
            root.add_key(thief.signers[-1].public_key, role)

    return change


def test_a_root_below_its_threshold_names_nobody(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    ops.do("rotate-key", ops.repo, "root", "--in", ops.pub("second"), "--threshold", "2")
    ops.sign("root", "second")
    ops.publish()
    served.update()
    thief = Thief(ops, "root")
    thief.forge("root", names_its_own_keys(ops, thief))
    thief.show("targets", lists())
    assert came_of_it(served, server) == "update.untrusted"


def test_a_whole_root_names_its_own_and_still_runs_nothing_of_its_own(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    thief = Thief(ops, "root")
    thief.forge("root", names_its_own_keys(ops, thief))
    thief.show("targets", lists())
    assert came_of_it(served, server) == "update.missing", "it is believed of what is offered"


@pytest.mark.parametrize("role", ["acme", "rollouts"])
def test_a_delegated_key_offers_nothing_beyond_its_paths(
    served: Any, ops: OpsTeam, server: ScriptedServer, role: str
) -> None:
    ops.do("delegate", ops.repo, "acme", "--to", ops.pub("acme"), "--model", "lung")
    ops.sign("targets", "acme")
    ops.publish()
    Thief(ops, role, *ONLINE).show(role, lists())
    assert came_of_it(served, server) == "current"


def test_a_vendors_key_is_believed_of_its_own_model(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    """Else the case before could not fail."""
    shutil.rmtree(served.at / "var/slots")
    shutil.copyfile(ops.bundle("lung", 1), served.at / "first.edgeai")
    ops.do("delegate", ops.repo, "acme", "--to", ops.pub("acme"), "--model", "lung")
    ops.sign("targets", "acme")
    ops.publish()
    Thief(ops, "acme", *ONLINE).show("acme", lists("models/lung/9.json"))
    assert served.update()["code"] == "update.missing"


def test_keys_that_were_replaced_are_worth_nothing_to_a_cart_that_slept(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    """Through new keys of every role, root's twice; then the thief tries with all that there were."""
    for role, old, new, signing, online in (
        ("root", "root", "root-2", ("root", "root-2"), ONLINE),
        ("targets", "targets", "targets-2", ("root-2", "targets", "targets-2"), ONLINE),
        ("snapshot", "snapshot", "snapshot-2", ("root-2",), (*ONLINE, "snapshot-2")),
        ("root", "root-2", "root-3", ("root-2", "root-3"), ("snapshot-2", "timestamp")),
    ):
        ops.do("rotate-key", ops.repo, role, "--out", old, "--in", ops.pub(new))
        ops.sign(*signing)
        ops.do("publish", ops.repo, *(word for name in online for word in ("--key", ops.key(name))))
    assert came_of_it(served, server) == "current"
    assert (served.kept / "metadata/root_history/5.root.json").exists()
    Thief(ops, "root", "root-2", "targets", "snapshot", "timestamp").show("targets", lists())
    assert came_of_it(served, server) == "update.untrusted"

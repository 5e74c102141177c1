"""Keys that are replaced, lost or stolen, for every role; and a publish that is killed at each of its writes."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuf.ngclient import Updater

from edgeai.bundle.signing import signer_of
from edgeai_fleet.publishing import publish

ROLES = ("root", "targets", "snapshot", "timestamp", "rollouts", "acme")
ONLINE = ("snapshot", "timestamp")


@pytest.fixture
def ops(ops: Any) -> Any:
    """A repository that offers one model of its own and one of a vendor's."""

    def make() -> None:
        ops.begin_with_one()
        ops.do("delegate", ops.repo, "acme", "--to", ops.pub("acme"), "--model", "lung")
        ops.sign("targets", "acme")
        ops.offer(ops.bundle("lung", 1), by="acme")

    ops.as_after("with two", make)
    return ops


def sleeper(ops: Any, at: Path) -> Callable[[], None]:
    """A cart that has seen the repository as it is now; called, it wakes."""
    at.mkdir()

    def wake() -> None:
        root = (ops.repo / "public/metadata/1.root.json").read_bytes()
        client = Updater(
            str(at), "folder:///metadata/", str(at), "folder:///targets/", fetcher=_fetcher(ops), bootstrap=root
        )
        for path in ("models/tiny/1.json", "models/lung/1.json"):
            assert client.get_targetinfo(path) is not None

    wake()
    return wake


def _fetcher(ops: Any) -> Any:
    from edgeai_fleet.serving import FolderFetcher

    return FolderFetcher(ops.repo / "public")


def keys(ops: Any, *names: str) -> list[str]:
    return [word for name in names for word in ("--key", ops.key(name))]


def rotate(ops: Any, role: str, *signing: str, new: str = "new") -> str:
    """Another key for a role, signed by these, and published by whoever publishes."""
    out = ops.do("rotate-key", ops.repo, role, "--out", role, "--in", ops.pub(new))
    for name in signing:
        ops.sign(name)
    online = [new if each == role else each for each in ONLINE]
    with_old = [role] if role in ONLINE and role in signing else []
    assert isinstance(out, str)
    return str(ops.do("publish", ops.repo, *keys(ops, *online, *with_old)))


DELEGATOR = {"rollouts": "targets", "acme": "targets"}


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_another_key_and_carts_that_slept_come_along(ops: Any, tmp_path: Path, role: str) -> None:
    wake = sleeper(ops, tmp_path / "cart")
    signing = {DELEGATOR.get(role, "root"), *({role, "new"} - set(ONLINE))} if role not in ONLINE else {"root"}
    out = rotate(ops, role, *sorted(signing))
    assert ops.codes() == set()
    wake()
    if role not in ONLINE:
        assert "were refused for a moment" not in out
    rows = {row["role"]: row for row in ops.told("status", ops.repo)["roles"]}
    assert [name.split(" ")[0] for name in rows[role]["keys"]] == ["new"]
    # The key that went signs nothing any more.
    if role in ONLINE:
        other = [name for name in ONLINE if name != role]
        assert ops.refused("publish", ops.repo, *keys(ops, role, *other)) == "fleet.key-unknown"
        ops.do("publish", ops.repo, *keys(ops, "new", *other))
    else:
        assert ops.call("sign", ops.repo, "--renew", role, "--key", ops.key(role))[0] == 2
        assert ops.refused("publish", ops.repo, *keys(ops, *ONLINE)) == "fleet.signatures-missing"
        ops.sign("new")
        ops.publish()
    assert ops.codes() == set()
    wake()


@pytest.mark.slow
@pytest.mark.parametrize("role", ["targets", "timestamp", "snapshot", "acme"])
def test_a_key_that_is_lost_is_replaced_without_it(ops: Any, tmp_path: Path, role: str) -> None:
    wake = sleeper(ops, tmp_path / "cart")
    (ops.at / f"keys/{role}.key").unlink()
    signing = [DELEGATOR.get(role, "root"), *(["new"] if role not in ONLINE else [])]
    out = rotate(ops, role, *signing)
    assert ("were refused for a moment" in out) == (role != "acme")
    assert ops.codes() == set()
    wake()


def test_a_root_needs_its_old_keys_and_its_new_ones(ops: Any) -> None:
    ops.do("rotate-key", ops.repo, "root", "--out", "root", "--in", ops.pub("new"))
    online = keys(ops, *ONLINE)
    assert ops.refused("publish", ops.repo, *online) == "fleet.signatures-missing"
    ops.sign("new")
    assert ops.refused("publish", ops.repo, *online) == "fleet.signatures-missing", "the old root did not say so"
    shutil.rmtree(ops.repo / "staged")
    ops.do("rotate-key", ops.repo, "root", "--out", "root", "--in", ops.pub("new"), "--key", ops.key("root"))
    assert ops.refused("publish", ops.repo, *online) == "fleet.signatures-missing", "the new key is not shown to work"


def test_more_keys_of_which_some_are_needed(ops: Any) -> None:
    words = ["rotate-key", ops.repo, "targets", "--in", ops.pub("second"), "--in", ops.pub("third"), "--threshold", "2"]
    ops.do(*words, "--key", ops.key("root"))
    online = keys(ops, *ONLINE)
    ops.sign("targets")
    assert ops.refused("publish", ops.repo, *online) == "fleet.signatures-missing"
    ops.sign("third")
    ops.publish()
    rows = {row["role"]: row for row in ops.told("status", ops.repo)["roles"]}
    assert (rows["targets"]["threshold"], len(rows["targets"]["keys"])) == (2, 3)
    assert ops.codes() == set()


def test_rotations_that_make_no_sense(ops: Any) -> None:
    def refused(role: str, *words: str) -> str:
        return str(ops.refused("rotate-key", ops.repo, role, *words))

    assert refused("targets", "--out", "targets") == "fleet.roles", "none would be left"
    assert refused("targets", "--out", "nobody", "--in", ops.pub("new")) == "fleet.roles"
    assert refused("targets", "--in", ops.pub("snapshot")) == "fleet.roles", "it is another role's"
    assert refused("targets", "--in", ops.pub("acme")) == "fleet.roles", "it is a vendor's"
    assert refused("targets", "--threshold", "2") == "fleet.roles"
    assert refused("targets") == "fleet.roles"
    assert refused("nobody", "--in", ops.pub("new")) == "fleet.roles"
    assert not list((ops.repo / "staged").rglob("*.json"))


# --- a publish that is killed ---------------------------------------------------------------------------


def killed_at(ops: Any, names: tuple[str, ...], point: int) -> bool:
    """Publish in a process that is killed before its write number ``point``; false when there is no such write."""
    signers = [signer_of(ops.key(name), lambda what: "") for name in names]
    child = os.fork()
    if child == 0:
        try:
            replace, count = os.replace, iter(range(1000))

            def counted(*arguments: Any, **more: Any) -> None:
                if next(count) == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                replace(*arguments, **more)

            os.replace = counted
            publish(ops.folder, signers)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def stage_a_bundle(ops: Any) -> tuple[str, ...]:
    ops.do("add", ops.repo, ops.bundle("tiny", 2), "--key", ops.key("targets"))
    return ONLINE


def stage_a_later_root(ops: Any) -> tuple[str, ...]:
    ops.do("sign", ops.repo, "--renew", "root", "--key", ops.key("root"))
    return ONLINE


def stage_other_online_keys(ops: Any) -> tuple[str, ...]:
    for role in ONLINE:
        ops.do("rotate-key", ops.repo, role, "--out", role, "--in", ops.pub(f"{role}-2"), "--key", ops.key("root"))
    return (*ONLINE, *(f"{role}-2" for role in ONLINE))


def stage_another_release_key(ops: Any) -> tuple[str, ...]:
    ops.do("rotate-key", ops.repo, "targets", "--out", "targets", "--in", ops.pub("new"))
    ops.do("add", ops.repo, ops.bundle("tiny", 2))
    ops.sign("root", "targets", "new")
    return ONLINE


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", [stage_a_bundle, stage_a_later_root, stage_other_online_keys, stage_another_release_key]
)
def test_killed_at_any_write_a_publish_leaves_what_carts_take_and_can_be_called_again(
    ops: Any, tmp_path: Path, stage: Callable[[Any], tuple[str, ...]]
) -> None:
    names = stage(ops)
    wake = sleeper(ops, tmp_path / "cart")
    staged, point = tmp_path / "staged", 0
    shutil.copytree(ops.repo, staged)
    while killed_at(ops, names, point):
        assert ops.codes() == set(), point
        wake()
        assert not killed_at(ops, names, 1000), "called again, it ends"
        body = ops.told("check", ops.repo)
        assert body["objections"] == [], point
        assert len(body["offers"]) == (3 if stage in (stage_a_bundle, stage_another_release_key) else 2)
        wake()
        point += 1
        shutil.rmtree(ops.repo)
        shutil.copytree(staged, ops.repo)
        shutil.rmtree(tmp_path / "cart")
        wake = sleeper(ops, tmp_path / "cart")
    assert point >= 3

"""What a cart refuses of a repository or a profile, each with a code: what runs runs on, nothing big was fetched."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tuf.api.metadata import Metadata, MetaFile, TargetFile

from edgeai.bundle.floors import Floors
from edgeai.bundle.offers import PackedDecl, blob_path, decode_offer, encode_offer
from edgeai.bundle.releases import Numbered
from edgeai.bundle.signing import signer_of
from edgeai.slots.given_up import cause_of
from edgeai.testing.distributions import write_fake_backend
from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer, Way

pytestmark = pytest.mark.slow
DAY = timedelta(days=1)


@pytest.fixture
def served(cart: Any, ops: OpsTeam, server: ScriptedServer) -> Any:
    """A cart on which release 1 runs in a slot, before a server that offers no more yet."""
    cart.serve(server.url)
    assert cart.update()["outcome"] == "current"
    server.asked.clear()
    return cart


def signers(ops: OpsTeam, *names: str) -> list[Any]:
    return [signer_of(ops.key(name), lambda what: "") for name in names]


def newest(ops: OpsTeam, role: str) -> Path:
    if role == "timestamp":
        return ops.public / "metadata/timestamp.json"
    return max((ops.public / "metadata").glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))


def refused(cart: Any, server: ScriptedServer, *words: str | Path) -> str:
    """The code; what ran still runs, and no blob was asked for."""
    before = cart.slots.read().running
    server.asked.clear()
    answer = cart.update(*words)
    assert answer["message"]
    assert cart.slots.read().running == before
    assert not [each.path for each in server.asked if each.path.startswith("blobs/")]
    return str(answer["code"])


# --- of the repository's metadata -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "code"),
    [(8, "update.frozen"), (31, "update.frozen"), (400, "update.expired")],
    ids=lambda value: str(value),
)
def test_what_has_ended_is_refused_and_inference_goes_on(
    served: Any, ops: OpsTeam, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, days: int, code: str
) -> None:
    later(monkeypatch, days)
    assert refused(served, server) == code


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """python-tuf asks datetime, the cart time; both go on."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=days)

    module = SimpleNamespace(datetime=Later, timezone=timezone)
    monkeypatch.setattr("tuf.ngclient._internal.trusted_metadata_set.datetime", module)
    now = time.time
    monkeypatch.setattr("edgeai_update.repository.time.time", lambda: now() + days * 86400)


def test_a_snapshot_that_has_ended_under_a_timestamp_that_has_not_is_expired(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    path = newest(ops, "snapshot")
    metadata: Metadata[Any] = Metadata.from_file(str(path))
    metadata.signed.version += 1
    metadata.signed.expires = (datetime.now(UTC) - 100 * DAY).replace(microsecond=0)
    metadata.sign(signers(ops, "snapshot")[0])
    fresh = path.with_name(f"{metadata.signed.version}.snapshot.json")
    fresh.write_bytes(metadata.to_bytes())
    retimed(ops, fresh)
    assert refused(served, server) == "update.expired"


def retimed(ops: OpsTeam, snapshot: Path) -> None:
    """A timestamp that leads to this snapshot, by whoever holds its key."""
    path = newest(ops, "timestamp")
    metadata: Metadata[Any] = Metadata.from_file(str(path))
    metadata.signed.version += 1
    data = snapshot.read_bytes()
    metadata.signed.snapshot_meta = MetaFile.from_data(int(snapshot.name.split(".")[0]), data, ["sha256"])
    metadata.sign(signers(ops, "timestamp")[0])
    path.write_bytes(metadata.to_bytes())


def test_an_older_state_is_a_step_back_from_a_server_and_from_a_stick_alike(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    shutil.copytree(ops.public, served.at / "old stick")
    ops.offer(ops.bundle("tiny", 2))
    served.call()
    assert refused(served, server, "--from", served.at / "old stick") == "update.rolled-back"
    shutil.copyfile(served.at / "old stick/metadata/timestamp.json", ops.public / "metadata/timestamp.json")
    assert refused(served, server) == "update.rolled-back"


def test_a_snapshot_that_takes_metadata_back_is_a_step_back(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    """The online keys are stolen: a new snapshot, which leads to targets of before."""
    before = json.loads(newest(ops, "snapshot").read_bytes())["signed"]["meta"]["targets.json"]
    ops.offer(ops.bundle("tiny", 2))
    served.call()
    path = newest(ops, "snapshot")
    body: Metadata[Any] = Metadata.from_file(str(path))
    body.signed.version += 1
    body.signed.meta["targets.json"].version = before["version"]
    body.signed.meta["targets.json"].hashes = before.get("hashes")
    body.signed.meta["targets.json"].length = before.get("length")
    body.sign(signers(ops, "snapshot")[0])
    fresh = path.with_name(f"{body.signed.version}.snapshot.json")
    fresh.write_bytes(body.to_bytes())
    retimed(ops, fresh)
    assert refused(served, server) == "update.rolled-back"


def test_files_of_different_states_are_mixed(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    old = newest(ops, "targets").read_bytes()
    ops.offer(ops.bundle("tiny", 2))
    newest(ops, "targets").write_bytes(old)
    assert refused(served, server) == "update.mixed"


def test_a_file_of_another_version_under_the_right_name_is_mixed(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    old = newest(ops, "snapshot").read_bytes()
    ops.offer(ops.bundle("tiny", 2))
    newest(ops, "snapshot").write_bytes(old)
    assert refused(served, server) == "update.mixed"


@pytest.mark.parametrize("role", ["timestamp", "root"])
def test_metadata_that_strangers_signed_are_untrusted(
    served: Any, ops: OpsTeam, server: ScriptedServer, role: str
) -> None:
    path = newest(ops, role)
    metadata: Metadata[Any] = Metadata.from_file(str(path))
    metadata.signed.version += 1
    metadata.signatures.clear()
    metadata.sign(signers(ops, "stranger")[0])
    target = path if role == "timestamp" else path.with_name(f"{metadata.signed.version}.root.json")
    target.write_bytes(metadata.to_bytes())
    assert refused(served, server) == "update.untrusted"


def test_a_repository_of_somebody_else_is_untrusted(served: Any, server: ScriptedServer, tmp_path: Path) -> None:
    other = OpsTeam(tmp_path / "others")
    other.begin()
    assert refused(served, server, "--from", other.public) in ("update.untrusted", "update.rolled-back")


@pytest.mark.parametrize("data", [b"<html>log in</html>", b"", b"{}", b"[" * 5000, b"\xff\xfe", b'{"signed": {}}'])
def test_a_page_in_place_of_metadata_is_no_metadata(
    served: Any, ops: OpsTeam, server: ScriptedServer, data: bytes
) -> None:
    (ops.public / "metadata/timestamp.json").write_bytes(data)
    assert refused(served, server) == "update.altered"


def test_metadata_without_an_end_are_too_long(served: Any, server: ScriptedServer) -> None:
    server.ways = [Way("endless", "timestamp.json")]
    assert refused(served, server) == "update.oversize"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("elsewhere", "update.redirected"),
        ("gzip", "update.encoded"),
        ("broken", "update.unreachable"),
        ("unauthorised", "update.refused"),
        ("not-found", "update.missing"),
    ],
)
def test_a_server_that_answers_otherwise_is_said_so(served: Any, server: ScriptedServer, how: str, code: str) -> None:
    server.ways = [Way(how, "timestamp.json")]
    assert refused(served, server) == code


def test_a_server_that_is_away_is_said_so_and_its_return_is_enough(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    ops.offer(ops.bundle("tiny", 2))
    server.ways = [Way("drops")]
    assert refused(served, server) == "update.unreachable"
    server.ways = []
    assert served.update()["outcome"] == "installed"


# --- of the offer ---------------------------------------------------------------------------------


def test_a_target_that_is_not_as_it_was_signed_is_altered(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    ops.offer(ops.bundle("tiny", 2))
    [path] = (ops.public / "targets/models/tiny").glob("*.2.json")
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b" }")
    assert refused(served, server) == "update.altered"


def test_a_target_longer_than_any_offer_is_too_long(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    target = TargetFile.from_data("models/tiny/2.json", b"x")
    target.length = 1 << 40

    def change(targets: Any) -> None:
        targets.targets["models/tiny/2.json"] = target

    republished(ops, change)
    assert refused(served, server) == "update.oversize"


def republished(ops: OpsTeam, change: Callable[[Any], None], offer: bytes | None = None) -> None:
    """Past the tools of the ops host, which hold an offer to what a cart asks: by stolen keys of targets and online."""
    path = newest(ops, "targets")
    metadata: Metadata[Any] = Metadata.from_file(str(path))
    metadata.signed.version += 1
    change(metadata.signed)
    metadata.sign(signers(ops, "targets")[0])
    fresh = path.with_name(f"{metadata.signed.version}.targets.json")
    fresh.write_bytes(metadata.to_bytes())
    if offer is not None:
        [(name, target)] = [item for item in metadata.signed.targets.items() if item[1].length == len(offer)][-1:]
        digest = target.hashes["sha256"]
        place = ops.public / "targets" / Path(name).with_name(f"{digest}.{Path(name).name}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(offer)
    at = newest(ops, "snapshot")
    snapshot: Metadata[Any] = Metadata.from_file(str(at))
    snapshot.signed.version += 1
    snapshot.signed.meta["targets.json"] = MetaFile.from_data(metadata.signed.version, fresh.read_bytes(), ["sha256"])
    snapshot.sign(signers(ops, "snapshot")[0])
    new = at.with_name(f"{snapshot.signed.version}.snapshot.json")
    new.write_bytes(snapshot.to_bytes())
    retimed(ops, new)


def offered(ops: OpsTeam, offer: bytes, path: str = "models/tiny/2.json", digest: str = "") -> None:
    target = TargetFile.from_data(path, offer)
    if digest:
        target.unrecognized_fields["custom"] = {"digest": digest}

    def change(targets: Any) -> None:
        targets.targets[path] = target

    republished(ops, change, offer)


def offer_of(ops: OpsTeam, bundle: Path) -> bytes:
    """The offer that another repository of the same keys would make of it."""
    other = OpsTeam(ops.at)
    other.repo, other.public = ops.at / "twin", ops.at / "twin/public"
    if not other.repo.exists():
        twin = OpsTeam(ops.at)
        twin.repo, twin.public = other.repo, other.public
        twin.begin()
    other.do("add", other.repo, bundle)
    [path] = (other.repo / "staged/targets/models").rglob("*.json")
    data = path.read_bytes()
    shutil.rmtree(other.repo)
    return data


def test_the_offer_of_another_model_under_this_ones_name_is_refused(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    offered(ops, offer_of(ops, ops.bundle("other", 2)))
    assert refused(served, server) == "update.wrong-model"


def test_an_old_release_under_a_new_number_is_refused(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    offered(ops, offer_of(ops, ops.at / "tiny-1.edgeai"))
    assert refused(served, server) == "update.wrong-model"


def test_a_list_that_says_another_digest_than_the_offer_is_refused(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    offered(ops, offer_of(ops, ops.bundle("tiny", 2)), digest="sha256:" + "0" * 64)
    assert refused(served, server) == "update.altered"


@pytest.mark.parametrize("data", [b"{}", b"nothing", b'{"schema": 9, "envelope": {}, "packed": {}}'])
def test_an_offer_that_is_none_is_refused(served: Any, ops: OpsTeam, server: ScriptedServer, data: bytes) -> None:
    offered(ops, data)
    assert refused(served, server) == "bundle.bad-offer"


def test_a_bundle_that_the_carts_own_keys_did_not_sign_is_refused_whoever_offers_it(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    """Every key of the repository is stolen: no model runs by that."""
    (ops.trust / "stranger.pub").write_bytes(Path(ops.pub("stranger")).read_bytes())
    data = offer_of(ops, ops.bundle("tiny", 2, signed="stranger"))
    offered(ops, data)
    assert refused(served, server) == "bundle.untrusted"


def test_a_bundle_for_a_newer_edgeai_is_refused(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeai.__version__", "9.0.0")  # whoever packed and offered it
        data = offer_of(ops, ops.bundle("tiny", 3, min_edgeai="8.0.0"))
    offered(ops, data, "models/tiny/3.json")
    assert refused(served, server) == "bundle.needs-newer-edgeai"


def test_a_release_below_the_floor_of_the_device_is_refused(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    ops.offer(ops.bundle("tiny", 2))
    Floors.of_device(served.config).raise_to(Numbered(name="tiny", release=7, digest="sha256:" + "7" * 64))
    assert refused(served, server) == "bundle.rolled-back"


def test_a_release_below_what_runs_is_refused_though_nothing_was_proven(
    served: Any, ops: OpsTeam, server: ScriptedServer, tmp_path: Path
) -> None:
    """What runs came by hand, and is newer than what the repository has."""
    shutil.rmtree(served.at / "var/slots")
    shutil.copyfile(ops.bundle("tiny", 5), served.at / "first.edgeai")
    ops.offer(ops.bundle("tiny", 2))
    assert served.update()["code"] == "bundle.rolled-back"
    assert served.slots.read().running.release == 5


def test_a_bundle_that_failed_here_is_not_fetched_again(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    ops.offer(ops.bundle("tiny", 2))
    assert served.update()["outcome"] == "installed"
    served.slots.fail("backend.inference-failed", "its golden case two was off by 0.3")
    assert refused(served, server) == "slots.bad"
    ops.offer(ops.bundle("tiny", 3))
    assert served.update()["outcome"] == "installed"


def test_a_bundle_that_this_device_could_not_rehearse_is_not_fetched_until_that_has_changed(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    ops.offer(ops.bundle("tiny", 2))
    assert served.update()["outcome"] == "installed"
    config, (deployment,) = served.config, served.config.deployments
    served.slots.abandon("no engine here opens it", cause=cause_of(config, deployment))
    assert refused(served, server) == "slots.given-up"
    assert served.slots.read().bad == {}
    assert "no engine here opens it" in served.update()["message"]
    profile = served.profile
    profile.write_text(profile.read_text().replace("updates = true", "updates = true\nthreads = 1"))
    assert served.update()["outcome"] == "installed"


def test_while_one_is_on_probation_no_other_comes(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    ops.offer(ops.bundle("tiny", 2))
    served.update()
    served.slots.rehearsed()
    served.slots.activate(3)
    served.slots.counted(completed=1)
    ops.offer(ops.bundle("tiny", 3))
    assert refused(served, server) == "slots.out-of-turn"


def test_a_repair_does_not_wait_for_one_on_probation_that_has_completed_nothing(served: Any, ops: OpsTeam) -> None:
    ops.offer(ops.bundle("tiny", 2))
    served.update()
    served.slots.rehearsed()
    served.slots.activate(3)
    served.slots.counted(withheld=12)
    ops.offer(ops.bundle("tiny", 3))
    status, *_ = served.call()
    assert (status, served.slots.read().running.release) == (0, 2), "only said: nothing gives way"
    assert served.update()["outcome"] == "installed"
    state = served.slots.read()
    assert (state.running.release, state.of("b").release, state.probation, state.bad) == (1, 3, None, {})
    assert "superseded" in [move.move for move in state.history]


def test_a_bundle_that_needs_a_plugin_which_is_not_allowed_is_refused(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    ops.offer(ops.bundle("tiny", 2))
    text = served.profile.read_text()
    served.profile.write_text(text.replace('allow = ["fakes"]', "allow = []"))
    assert refused(served, server) == "plugin.not-allowed"


def test_an_engine_that_dies_when_it_is_asked_is_said_so(
    served: Any, ops: OpsTeam, server: ScriptedServer, tmp_path: Path
) -> None:
    write_fake_backend(tmp_path / "plugins", name="deadly", prelude="import os; os._exit(3)")
    ops.offer(ops.bundle("tiny", 2))
    text = served.profile.read_text()
    served.profile.write_text(text.replace('allow = ["fakes"]', 'allow = ["fakes", "deadly"]'))
    assert refused(served, server) == "update.engines-unknown"


# --- of blobs -------------------------------------------------------------------------------------


def test_a_bomb_in_a_blob_is_refused_and_leaves_nothing_in_a_slot(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    """Signed for by stolen keys of the repository: its length and digest are as offered, what is in it is not."""
    data = offer_of(ops, ops.bundle("tiny", 2))
    offer = decode_offer(data)
    victim = offer.manifest.files["notes.txt"]
    bomb = zlib.compress(bytes(3 * victim.bytes), 9)
    (ops.public / blob_path(victim.sha256)).write_bytes(bomb)
    packed = {**offer.packed, victim.sha256: PackedDecl(sha256=hashlib.sha256(bomb).hexdigest(), bytes=len(bomb))}
    offered(ops, encode_offer(offer.envelope_bytes, packed))
    for name, declared in offer.manifest.files.items():  # the others are there
        place = ops.public / blob_path(declared.sha256)
        if not place.exists():
            place.write_bytes(zlib.compress((ops.at / "content-tiny-2" / name).read_bytes(), 9))
    before = served.slots.read().running
    answer = served.update()
    assert answer["code"] == "bundle.wrong-size"
    slots = served.slots.read()
    assert (slots.running, slots.of(slots.spare)) == (before, None)


def test_a_blob_of_other_bytes_is_refused_and_leaves_nothing(served: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    ops.offer(ops.bundle("tiny", 2))
    server.ways = [Way("other-bytes", "blobs/")]
    answer = served.update()
    assert answer["code"] == "update.altered"
    assert served.slots.read().b is None
    server.ways = []
    assert served.update()["outcome"] == "installed"


# --- of the device --------------------------------------------------------------------------------


def test_a_clock_that_stands_in_2001_is_said_so(
    served: Any, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("edgeai_update.repository.time.time", lambda: 1_000_000_000.0)
        assert refused(served, server) == "update.clock"
    assert served.update()["outcome"] == "current"


def test_a_clock_that_stood_in_2040_leaves_nothing_behind(
    served: Any, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as moment:
        later(moment, 14 * 365)
        assert refused(served, server) == "update.expired"
    assert served.update()["outcome"] == "current", "what was seen then is not held against the right time"


def test_a_disk_without_room_is_asked_before_anything_is_fetched(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    ops.offer(ops.bundle("tiny", 2))
    text = served.profile.read_text()
    served.profile.write_text(text.replace("reserve_bytes = 1000", f"reserve_bytes = {1 << 60}"))
    assert refused(served, server) == "update.no-room"
    served.profile.write_text(text)
    assert served.update()["outcome"] == "installed"


def test_one_process_at_a_time(served: Any, server: ScriptedServer) -> None:
    with (served.kept / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert refused(served, server) == "update.busy"


def test_a_folder_that_may_not_be_written_is_said_so(served: Any, server: ScriptedServer) -> None:
    shutil.rmtree(served.kept)
    served.kept.write_text("a file in its place")
    assert refused(served, server) == "update.unwritable"


def test_what_was_kept_may_be_lost_or_damaged_and_the_next_look_mends_it(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    for path in (served.kept / "metadata").rglob("*.json"):
        path.write_bytes(b"\0" * 100)
    ops.offer(ops.bundle("tiny", 2))
    assert served.update()["outcome"] == "installed"


def test_metadata_of_a_role_that_is_no_more_are_in_nobodys_way(
    served: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    (served.kept / "metadata/vendor-of-old.json").write_bytes(b"\0" * 100)
    ops.offer(ops.bundle("tiny", 2))
    assert served.update()["outcome"] == "installed"


# --- of the profile -------------------------------------------------------------------------------


def error_of(cart: Any, *words: str) -> tuple[int, str]:
    status, out, err = cart.call(*words)
    assert out == ""
    return status, err.partition("error[")[2].partition("]")[0]


def test_a_profile_without_a_repository_is_said_so(cart: Any) -> None:
    cart.rewrite()
    assert error_of(cart, "--once") == (2, "update.not-configured")
    text = cart.profile.read_text().replace("[repository]", "")
    cart.profile.write_text(text)
    assert error_of(cart, "--once") == (2, "update.not-configured")


@pytest.mark.parametrize("content", [None, b"", b"{}", b"no metadata"])
def test_a_root_that_is_none_is_said_so(cart: Any, server: ScriptedServer, content: bytes | None) -> None:
    cart.serve(server.url)
    root = cart.at / "trust/root.json"
    root.unlink()
    if content is not None:
        root.write_bytes(content)
    status, _, err = cart.call("--once")
    assert (status, "error[update.root-unusable]: repository.root: " in " ".join(err.split())) == (2, True)


def test_a_tls_file_that_cannot_be_used_is_said_so(cart: Any) -> None:
    cart.serve("https://127.0.0.1:9", 'tls = {ca = "nowhere.pem"}')
    assert error_of(cart, "--once") == (2, "update.tls")


@pytest.mark.parametrize(
    "line",
    [
        'url = "ftp://models.example/edgeai"',
        'url = "models.example/edgeai"',
        'url = "https://"',
        'url = "https://models.example:http"',
        'url = "https://ops:secret@models.example/"',
        'url = "https://models.example/?x=1"',
        'url = "https://models.example/a b"',
        'proxy = "https://proxy:3128"',
        'proxy = "proxy:3128"',
    ],
)
def test_an_address_that_is_none_is_a_mistake_of_the_profile(cart: Any, line: str) -> None:
    cart.repository = line
    cart.rewrite()
    status, code = error_of(cart)
    assert (status, code) == (2, "config.invalid")

"""What a cart refuses of a repository, whoever made it so: a stranger, a stolen key, a vendor, a bad disk, or time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import BadVersionNumberError
from tuf.api.metadata import Metadata, TargetFile
from tuf.ngclient import Updater

from edgeai.api import BundleRejected, ConfigError
from edgeai.bundle.offers import blob_path, decode_offer, encode_offer
from edgeai.bundle.reader import read_manifest
from edgeai.bundle.signing import signer_of
from edgeai_fleet.publishing import publish
from edgeai_fleet.staging import staging

DAY = timedelta(days=1)


@pytest.fixture
def good(ops: Any) -> Any:
    """A repository that offers one model."""
    ops.begin_with_one()
    return ops


def signers(ops: Any, *names: str) -> list[Any]:
    return [signer_of(ops.key(name), lambda what: "") for name in names]


def newest(ops: Any, role: str) -> Path:
    if role == "timestamp":
        return Path(ops.repo / "public/metadata/timestamp.json")
    files = ops.repo.glob(f"public/metadata/*.{role}.json")
    return max(files, key=lambda path: int(path.name.split(".")[0]))  # type: ignore[no-any-return]


def resigned(path: Path, *by: Any, change: Callable[[Any], object] = lambda signed: None) -> None:
    """The same metadata, changed, with these signatures instead."""
    metadata: Metadata[Any] = Metadata.from_file(str(path))
    change(metadata.signed)
    metadata.signatures.clear()
    for signer in by:
        metadata.sign(signer, append=True)
    path.write_bytes(metadata.to_bytes())


# --- time ---------------------------------------------------------------------------------------------


def test_metadata_that_have_ended_are_refused_and_a_publish_renews_them(good: Any) -> None:
    then = datetime.now(UTC) - 8 * DAY
    publish(good.folder, signers(good, "snapshot", "timestamp"), then)
    assert good.codes() == {"fleet.expired"}
    status, out, _ = good.call("check", good.repo)
    assert (status, "REFUSED" in out) == (1, True)
    good.do("publish", good.repo, "--key", good.key("timestamp"))
    body = good.told("check", good.repo)
    assert body["accepted"]
    assert [each["role"] for each in body["endings"]][:2] == ["timestamp", "snapshot"]


def test_nothing_is_published_that_has_ended(good: Any) -> None:
    later = datetime.now(UTC) + 91 * DAY
    with pytest.raises(ConfigError) as caught:
        publish(good.folder, signers(good, "snapshot", "timestamp"), later)
    assert (caught.value.code, "rollouts ended" in str(caught.value)) == ("fleet.expired", True)
    with staging(good.folder, later) as change:
        change.edit("rollouts")
        change.sign(signers(good, "rollouts"))
    publish(good.folder, signers(good, "snapshot", "timestamp"), later)


def test_how_long_they_hold_can_be_set(ops: Any) -> None:
    ops.init("--expires", "timestamp=3", "--expires", "root=30")
    ops.sign("root", "targets", "rollouts")
    ops.publish()
    days = {row["role"]: row["days_left"] for row in ops.told("status", ops.repo)["roles"]}
    assert (round(days["timestamp"]), round(days["root"]), round(days["targets"])) == (3, 30, 365)
    ops.do("sign", ops.repo, "--renew", "rollouts")
    settings = ops.repo / "fleet.toml"
    settings.write_text(settings.read_text().replace("rollouts = 90", "rollouts = 10"))
    ops.do("sign", ops.repo, "--renew", "rollouts", "--key", ops.key("rollouts"))
    ops.publish()
    days = {row["role"]: row["days_left"] for row in ops.told("status", ops.repo)["roles"]}
    assert round(days["rollouts"]) == 10


# --- strangers and mixtures ---------------------------------------------------------------------------


def test_metadata_that_a_stranger_signed(good: Any) -> None:
    resigned(newest(good, "timestamp"), *signers(good, "stranger"))
    assert good.codes() == {"fleet.signatures-missing"}


def test_metadata_that_nobody_signed(good: Any) -> None:
    resigned(newest(good, "timestamp"))
    assert good.codes() == {"fleet.signatures-missing"}


def test_a_root_with_one_signature_of_two(ops: Any) -> None:
    ops.init("--threshold", "root=2", roots=("alice", "bob", "carol"))
    ops.sign("alice", "bob", "targets", "rollouts")
    ops.publish()
    second = ops.repo / "public/metadata/2.root.json"
    shutil.copy(ops.repo / "public/metadata/1.root.json", second)
    resigned(second, *signers(ops, "alice"), change=lambda root: setattr(root, "version", 2))
    assert ops.codes() == {"fleet.signatures-missing"}
    resigned(second, *signers(ops, "alice", "carol"))
    assert ops.codes() == set()


@pytest.mark.parametrize("role", ["snapshot", "targets", "rollouts"])
def test_metadata_of_two_moments_are_not_mixed(good: Any, role: str) -> None:
    good.do("sign", good.repo, "--renew", "rollouts", "--key", good.key("rollouts"))
    good.do("sign", good.repo, "--renew", "targets", "--key", good.key("targets"))
    old = newest(good, role).read_bytes()
    good.publish()
    assert good.codes() == set()
    newest(good, role).write_bytes(old)  # an older one, well signed, in the newest one's place
    assert good.codes() == {"fleet.altered"}


def test_an_old_root_in_a_newer_ones_place(good: Any) -> None:
    folder = good.repo / "public/metadata"
    shutil.copy(folder / "1.root.json", folder / "2.root.json")
    assert good.codes() == {"fleet.rolled-back"}


def test_a_cart_that_saw_more_does_not_go_back(good: Any, serve: Callable[[Path], str], tmp_path: Path) -> None:
    url = serve(good.repo / "public")
    root = (good.repo / "public/metadata/1.root.json").read_bytes()

    def refresh() -> None:
        cache = tmp_path / "cart"
        cache.mkdir(exist_ok=True)
        Updater(str(cache), f"{url}/metadata/", bootstrap=root).refresh()

    old = newest(good, "timestamp").read_bytes()
    good.publish()
    refresh()
    newest(good, "timestamp").write_bytes(old)
    with pytest.raises(BadVersionNumberError):
        refresh()


# --- a bad disk, a bad server -------------------------------------------------------------------------


def _damages(blob: Path) -> Iterator[tuple[bytes | None, str]]:
    data = blob.read_bytes()
    yield bytes([*data[:-1], data[-1] ^ 1]), "bundle.wrong-hash"
    yield data[:-1], "bundle.wrong-size"
    yield data + b"more", "fleet.altered"
    yield b"", "bundle.wrong-size"
    yield None, "fleet.missing"


@pytest.mark.parametrize("at", range(5))
def test_a_blob_that_is_not_as_it_was(good: Any, at: int) -> None:
    blob = max((good.repo / "public/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data, code = list(_damages(blob))[at]
    if data is None:
        blob.unlink()
    else:
        blob.write_bytes(data)
    body = good.told("check", good.repo)
    assert {each["code"] for each in body["objections"]} == {code}
    assert body["offers"] == []


def test_an_offer_that_is_not_as_it_was(good: Any) -> None:
    [offer] = good.repo.glob("public/targets/models/tiny/*.1.json")
    data = offer.read_bytes()
    offer.write_bytes(data.replace(b"schema", b"Schema"))
    assert good.codes() == {"fleet.altered"}
    offer.write_bytes(data + b" ")
    assert good.codes() == {"fleet.altered"}
    offer.unlink()
    assert good.codes() == {"fleet.missing"}


def test_servers_that_are_not_there_or_serve_something_else(
    good: Any, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert good.codes("--url", serve(tmp_path / "empty")) == {"fleet.missing"}
    (tmp_path / "portal/metadata").mkdir(parents=True)
    (tmp_path / "portal/metadata/timestamp.json").write_text("<html>please log in</html>")
    assert good.codes("--url", serve(tmp_path / "portal")) == {"fleet.altered"}
    assert good.codes("--url", "http://127.0.0.1:9") == {"fleet.unreachable"}


def test_a_repository_that_nobody_published_cannot_be_asked(ops: Any) -> None:
    ops.init()
    assert ops.refused("check", ops.repo) == "fleet.unpublished"


def test_published_metadata_that_a_bad_disk_changed_are_not_built_upon(good: Any) -> None:
    newest(good, "targets").write_bytes(b"\0" * 100)
    assert good.refused("add", good.repo, good.bundle("tiny", 2)) == "fleet.altered"
    assert good.refused("status", good.repo) == "fleet.altered"


def test_a_disk_that_takes_nothing(good: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = newest(good, "timestamp").read_bytes()
    monkeypatch.setattr("os.fsync", full)
    key = ["--key", good.key("timestamp")]
    assert good.refused("publish", good.repo, *key) == "fleet.unwritable"
    monkeypatch.undo()
    assert newest(good, "timestamp").read_bytes() == before
    assert list(good.repo.rglob("*.partial")) == []
    good.do("publish", good.repo, *key)


# --- stolen keys, and vendors -------------------------------------------------------------------------


def test_who_stole_all_keys_of_the_repository_still_has_no_bundle_that_carts_trust(good: Any) -> None:
    """TUF says what is offered, the bundle's own signatures whose model it is: both are asked."""
    stranger = good.bundle("tiny", 2, signed="stranger")
    (good.repo / "trust/stranger.pub").write_bytes(Path(good.pub("stranger")).read_bytes())
    good.offer(stranger)
    (good.repo / "trust/stranger.pub").unlink()
    body = good.told("check", good.repo)
    assert [(each["what"], each["code"]) for each in body["objections"]] == [("models/tiny/2.json", "bundle.untrusted")]


def test_an_offer_under_another_name_or_number_is_none(good: Any) -> None:
    with staging(good.folder) as change:
        targets = change.edit("targets").signed.targets
        for path in ("models/other/1.json", "models/tiny/9.json"):
            [was] = good.repo.glob("public/targets/models/tiny/*.1.json")
            targets[path] = TargetFile.from_data(path, was.read_bytes())
            staged = good.folder.staged_target(path)
            staged.parent.mkdir(parents=True, exist_ok=True)
            staged.write_bytes(was.read_bytes())
        change.sign(signers(good, "targets"))
    good.publish()
    body = good.told("check", good.repo)
    assert {(each["what"], each["code"]) for each in body["objections"]} == {
        ("models/other/1.json", "fleet.not-delegated"),
        ("models/tiny/9.json", "fleet.not-delegated"),
    }


@pytest.fixture
def vendor(ops: Any) -> Any:
    """The same, with a vendor for the models ``lung`` and ``heart``."""

    def make() -> None:
        ops.begin_with_one()
        ops.do("delegate", ops.repo, "acme", "--to", ops.pub("acme"), "--model", "lung", "--model", "heart")
        ops.sign("targets", "acme")
        ops.publish()

    ops.as_after("with a vendor", make)
    return ops


def test_a_vendor_offers_its_own_models_with_its_own_key(vendor: Any, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(vendor.repo, theirs)
    assert "for acme to sign" in vendor.do("add", theirs, vendor.bundle("lung", 1))
    assert vendor.refused("sign", theirs, "--key", vendor.key("targets")) == "fleet.key-unknown"
    vendor.do("sign", theirs, "--key", vendor.key("acme"))
    shutil.copytree(theirs / "staged", vendor.repo / "staged")
    vendor.publish()
    body = vendor.told("check", vendor.repo)
    assert body["accepted"], body
    assert {(each["name"], each["role"]) for each in body["offers"]} == {("tiny", "targets"), ("lung", "acme")}


def test_a_vendor_that_offers_anothers_model_is_not_published_and_no_cart_believes_it(vendor: Any) -> None:
    with staging(vendor.folder) as change:
        acme = change.edit("acme").signed
        data = next(vendor.repo.glob("public/targets/models/tiny/*.1.json")).read_bytes()
        acme.targets["models/tiny/7.json"] = TargetFile.from_data("models/tiny/7.json", data)
        staged = vendor.folder.staged_target("models/tiny/7.json")
        staged.parent.mkdir(parents=True)
        staged.write_bytes(data)
        change.sign(signers(vendor, "acme"))
    online = ["--key", vendor.key("snapshot"), "--key", vendor.key("timestamp")]
    assert vendor.refused("publish", vendor.repo, *online) == "fleet.not-delegated"
    # Whoever publishes all the same, with the online keys, is not believed either.
    version = int(newest(vendor, "acme").name.split(".")[0]) + 1
    shutil.copy(vendor.folder.staged_metadata("acme"), vendor.repo / f"public/metadata/{version}.acme.json")
    shutil.rmtree(vendor.repo / "staged")
    _point_to(vendor, "acme", version)
    body = vendor.told("check", vendor.repo)
    assert [(each["what"], each["code"]) for each in body["objections"]] == [
        ("models/tiny/7.json", "fleet.not-delegated")
    ]


def _point_to(ops: Any, role: str, version: int) -> None:
    from tuf.api.metadata import MetaFile

    snapshot, timestamp = newest(ops, "snapshot"), newest(ops, "timestamp")
    data = (ops.repo / f"public/metadata/{version}.{role}.json").read_bytes()
    meta = MetaFile.from_data(version, data, ["sha256"])
    resigned(snapshot, *signers(ops, "snapshot"), change=lambda signed: signed.meta.update({f"{role}.json": meta}))
    whole = MetaFile.from_data(int(snapshot.name.split(".")[0]), snapshot.read_bytes(), ["sha256"])
    resigned(timestamp, *signers(ops, "timestamp"), change=lambda signed: setattr(signed, "snapshot_meta", whole))


def test_a_vendor_whose_key_is_not_the_one_that_was_delegated_to(vendor: Any) -> None:
    path = newest(vendor, "acme")
    resigned(path, *signers(vendor, "stranger"))
    _point_to(vendor, "acme", int(path.name.split(".")[0]))
    body = vendor.told("check", vendor.repo)
    assert [(each["what"], each["code"]) for each in body["objections"]] == [("acme", "fleet.signatures-missing")]
    assert [each["name"] for each in body["offers"]] == ["tiny"], "the others are not harmed"


def test_what_cannot_be_delegated(vendor: Any) -> None:
    def refused(name: str, *more: str, to: str = "brand") -> str:
        return str(vendor.refused("delegate", vendor.repo, name, "--to", vendor.pub(to), *more))

    assert refused("brand", "--model", "lung") == "fleet.roles", "it is acme's"
    assert refused("brand", "--model", "tiny") == "fleet.roles", "it is our own"
    assert refused("root", "--model", "x") == "fleet.roles"
    assert refused("Brand", "--model", "x") == "fleet.roles"
    assert refused("../brand", "--model", "x") == "fleet.roles"
    assert refused("brand", "--model", "x", to="targets") == "fleet.roles"
    assert refused("brand", "--model", "*") == "fleet.roles"
    assert refused("brand", "--model", "x", "--threshold", "2") == "fleet.roles"
    assert vendor.refused("delegate", vendor.repo, "rollouts", "--remove") == "fleet.roles"
    assert vendor.refused("delegate", vendor.repo, "nobody", "--remove") == "fleet.roles"
    assert not (vendor.repo / "staged").exists() or not list((vendor.repo / "staged").rglob("*.json"))


def test_a_vendor_that_is_no_more(vendor: Any) -> None:
    vendor.offer(vendor.bundle("lung", 1), by="acme")
    assert len(vendor.told("check", vendor.repo)["offers"]) == 2
    vendor.do("delegate", vendor.repo, "acme", "--remove")
    vendor.sign("targets")
    vendor.publish()
    assert [each["name"] for each in vendor.told("check", vendor.repo)["offers"]] == ["tiny"]
    with staging(vendor.folder) as change:
        assert "acme" not in change.merged.targets
    assert vendor.refused("sign", vendor.repo, "--renew", "acme") == "fleet.roles"


def test_a_vendor_that_may_offer_less_than_before(vendor: Any) -> None:
    vendor.offer(vendor.bundle("lung", 1), vendor.bundle("heart", 1), by="acme")
    vendor.do("delegate", vendor.repo, "acme", "--to", vendor.pub("acme"), "--model", "heart")
    vendor.sign("targets", "acme")
    vendor.publish()
    body = vendor.told("check", vendor.repo)
    assert body["accepted"], body
    assert [each["name"] for each in body["offers"]] == ["heart", "tiny"]


def test_staged_metadata_of_nobody_are_not_published(vendor: Any) -> None:
    staged = vendor.folder.staged_metadata("ghost")
    staged.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(newest(vendor, "acme"), staged)
    online = ["--key", vendor.key("snapshot"), "--key", vendor.key("timestamp")]
    assert vendor.refused("publish", vendor.repo, *online) == "fleet.not-delegated"


# --- offers by themselves ------------------------------------------------------------------------------


def test_an_offer_says_of_each_content_and_of_no_other_how_it_is_packed(good: Any) -> None:
    [path] = good.repo.glob("public/targets/models/tiny/*.1.json")
    offer = decode_offer(path.read_bytes())
    first, *others = offer.packed

    def code(data: bytes) -> str:
        with pytest.raises(BundleRejected) as caught:
            decode_offer(data)
        return caught.value.code

    assert code(encode_offer(offer.envelope_bytes, {each: offer.packed[each] for each in others})) == "bundle.bad-offer"
    more = {**offer.packed, "0" * 64: offer.packed[first]}
    assert code(encode_offer(offer.envelope_bytes, more)) == "bundle.bad-offer"
    huge = type(offer.packed[first])(sha256="0" * 64, bytes=1 << 40)
    assert code(encode_offer(offer.envelope_bytes, {**offer.packed, first: huge})) == "bundle.bad-offer"
    assert code(path.read_bytes().replace(b'"schema":1', b'"schema":2', 1)) == "bundle.bad-offer"
    for data in (b"", b"[]", b"{}", b"\xff", path.read_bytes()[:-2], b'{"schema":1,' + path.read_bytes()[1:]):
        assert code(data) == "bundle.bad-offer"
    other = encode_offer(offer.envelope_bytes.replace(b'"keyid"', b'"keyId"'), offer.packed)
    assert code(other) == "bundle.bad-signatures-file"
    manifest, _ = read_manifest(good.bundle("tiny", 1))
    assert all((good.repo / "public" / blob_path(each.sha256)).exists() for each in manifest.files.values())

"""From a key ceremony to what a cart takes: staged, signed, published, served, and read by python-tuf's own client."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuf.ngclient import Updater

from edgeai.bundle.offers import blob_path, decode_offer, packed_as, unpacked
from edgeai.bundle.reader import read_manifest
from edgeai.testing.bundles import change_member

Serve = Callable[[Path], str]


def cart(url: str, cache: Path, root: Path) -> Updater:
    """A cart that was given a root."""
    cache.mkdir(exist_ok=True)
    client = Updater(str(cache), f"{url}/metadata/", str(cache), f"{url}/targets/", bootstrap=root.read_bytes())
    client.refresh()
    return client


def test_a_cart_gets_over_http_what_was_added_signed_and_published(ops: Any, serve: Serve, tmp_path: Path) -> None:
    ops.begin()
    bundle = ops.bundle("tiny", 3)
    ops.offer(bundle)
    client = cart(serve(ops.repo / "public"), tmp_path / "cart", ops.repo / "public/metadata/1.root.json")
    info = client.get_targetinfo("models/tiny/3.json")
    assert info is not None
    manifest, digest = read_manifest(bundle)
    assert info.custom == {"digest": digest, "version": manifest.version}
    offer = decode_offer(Path(client.download_target(info)).read_bytes())
    assert (offer.manifest, offer.digest) == (manifest, digest)
    assert set(offer.packed) == {each.sha256 for each in manifest.files.values()}
    for name, declared in manifest.files.items():
        blob = ops.repo / "public" / blob_path(declared.sha256)
        content = b"".join(unpacked(blob, offer.packed[declared.sha256], declared, name))
        assert hashlib.sha256(content).hexdigest() == declared.sha256
    shared = offer.packed[manifest.files["shared.bin"].sha256]
    assert shared.bytes < manifest.files["shared.bin"].bytes / 50, "stored packed"
    assert client.get_targetinfo("models/tiny/4.json") is None


def test_contents_lie_once_whatever_bundles_they_are_in(ops: Any) -> None:
    ops.begin()
    ops.offer(ops.bundle("tiny", 1), ops.bundle("other", 1))
    before = {path.name for path in (ops.repo / "public/blobs/sha256").iterdir()}
    assert "0 of them new" not in ops.do("add", ops.repo, ops.bundle("tiny", 2))
    ops.sign("targets")
    ops.publish()
    after = {path.name for path in (ops.repo / "public/blobs/sha256").iterdir()}
    assert len(after - before) == 1, "notes.txt alone is another"
    assert ops.codes() == set()


def test_check_says_of_a_good_repository_that_it_is_good_and_when_it_ends(ops: Any, serve: Serve) -> None:
    ops.begin()
    ops.offer(ops.bundle("tiny", 1))
    for more in ((), ("--url", serve(ops.repo / "public"))):
        body = ops.told("check", ops.repo, *more)
        assert (body["accepted"], body["objections"], body["soon"], body["blobs"]) == (True, [], [], 3)
        assert [(each["name"], each["release"]) for each in body["offers"]] == [("tiny", 1)]
        ends = [each["role"] for each in body["endings"]]
        assert ends[:3] == ["timestamp", "snapshot", "rollouts"]
    status, out, _ = ops.call("check", ops.repo)
    assert status == 0
    assert "UTC on carts refuse updates (fleet.expired: timestamp), and run on." in out
    status, out, _ = ops.call("check", ops.repo, "--within", "8")
    assert (status, "SOON" in out) == (1, True)


def test_the_status_says_what_waits_for_whom_and_a_carts_share(ops: Any) -> None:
    ops.init("--threshold", "root=2", roots=("alice", "bob", "carol"))
    roles = {row["role"]: row for row in ops.told("status", ops.repo)["roles"]}
    assert (roles["root"]["version"], roles["root"]["staged"], roles["root"]["missing"]) == (0, 1, 2)
    ops.sign("carol")
    out = ops.do("status", ops.repo)
    assert "2 of 3" in out
    assert "version 1, 1 signature missing" in out
    ops.sign("alice", "targets", "rollouts")
    ops.publish()
    ops.offer(ops.bundle("tiny", 1))
    body = ops.told("status", ops.repo)
    roles = {row["role"]: row for row in body["roles"]}
    assert (roles["root"]["version"], roles["root"]["staged"]) == (1, 0)
    assert {name.split(" ")[0] for name in roles["root"]["signed"]} == {"alice", "carol"}
    [offer] = body["offers"]
    assert (offer["name"], offer["published"], set(offer["shares"])) == ("tiny", True, {"fake"})
    assert offer["shares"]["fake"] == offer["bytes"], "one engine: all of it"


def test_what_is_served_is_readable_and_holds_no_private_key(ops: Any) -> None:
    ops.begin()
    ops.offer(ops.bundle("tiny", 1))
    files = [path for path in (ops.repo / "public").rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path for path in files if stat.S_IMODE(path.stat().st_mode) != 0o644] == []
    assert [path for path in ops.repo.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()] == []
    assert not (ops.repo / "staged").exists()


# --- what is refused when a bundle is added -----------------------------------------------------------


def test_a_bundle_that_a_cart_would_refuse_is_not_offered(ops: Any, tmp_path: Path) -> None:
    ops.begin()
    assert ops.refused("add", ops.repo, ops.bundle("tiny", 1, signed=None)) == "bundle.unsigned"
    assert ops.refused("add", ops.repo, ops.bundle("tiny", 2, signed="stranger")) == "bundle.untrusted"
    damaged = ops.bundle("tiny", 3)
    change_member(damaged, "notes.txt", lambda data: b"X" + data[1:])
    assert ops.refused("add", ops.repo, damaged) == "bundle.wrong-hash"
    forged = ops.bundle("tiny", 4)
    change_member(forged, "manifest.json", lambda data: data.replace(b'"release":4', b'"release":9'))
    assert ops.refused("add", ops.repo, forged) == "bundle.bad-signatures-file"
    (tmp_path / "no.edgeai").write_bytes(b"no bundle at all")
    assert ops.refused("add", ops.repo, tmp_path / "no.edgeai") == "bundle.not-a-bundle"
    assert ops.refused("add", ops.repo, tmp_path / "nowhere.edgeai") == "bundle.missing"
    assert ops.refused("add", ops.repo, ops.bundle("tiny", 0)) == "fleet.unnumbered"
    assert ops.told("status", ops.repo)["offers"] == []


def test_a_key_that_is_bound_to_other_models_does_not_offer_this_one(ops: Any) -> None:
    ops.trust_release()
    (ops.at / "trust/trust.toml").write_text('[keys.release]\nmodels = ["other"]\n')
    ops.init()  # not begin(), which may take what another test made, with its trust
    ops.sign("root", "targets", "rollouts")
    ops.publish()
    assert ops.refused("add", ops.repo, ops.bundle("tiny", 1)) == "bundle.signer-elsewhere"
    ops.do("add", ops.repo, ops.bundle("other", 1))


def test_so_many_signatures_as_carts_ask_for(ops: Any) -> None:
    ops.init("--bundle-threshold", "2")
    assert ops.refused("add", ops.repo, ops.bundle("tiny", 1)) == "bundle.untrusted"


def test_releases_only_rise_and_a_number_is_one_bundles(ops: Any) -> None:
    ops.begin()
    ops.offer(ops.bundle("tiny", 5))
    assert ops.refused("add", ops.repo, ops.bundle("tiny", 4)) == "bundle.rolled-back"
    assert ops.refused("add", ops.repo, ops.bundle("tiny", 5, text="b")) == "bundle.release-reused"
    assert "is offered already" in ops.do("add", ops.repo, ops.bundle("tiny", 5))
    ops.do("add", ops.repo, ops.bundle("tiny", 7))
    assert ops.refused("add", ops.repo, ops.bundle("tiny", 6)) == "bundle.rolled-back", "7 is staged"
    ops.do("add", ops.repo, ops.bundle("other", 1))


def test_the_same_release_with_one_signature_more_is_offered_anew(ops: Any) -> None:
    from edgeai.bundle.signing import sign_bundle, signer_of

    ops.begin()
    bundle = ops.bundle("tiny", 1)
    ops.offer(bundle)
    sign_bundle(bundle, signer_of(ops.key("second"), lambda what: ""))
    assert "0 of them new" in ops.do("add", ops.repo, bundle)
    ops.sign("targets")
    ops.publish()
    body = ops.told("check", ops.repo)
    assert (body["accepted"], len(body["offers"])) == (True, 1)


# --- what is refused when it is made, signed and published ----------------------------------------------


def test_keys_and_thresholds_that_make_no_sense(ops: Any) -> None:
    ops.trust_release()
    roles = [word for role in ("targets", "rollouts", "snapshot") for word in (f"--{role}", ops.pub(role))]
    words = ["init", ops.repo, "--trust", ops.at / "trust", "--root", ops.pub("root"), *roles]
    assert ops.refused(*words, "--timestamp", ops.pub("snapshot")) == "fleet.roles"
    assert ops.refused(*words, "--timestamp", ops.pub("timestamp"), "--threshold", "root=2") == "fleet.roles"
    assert ops.refused(*words, "--timestamp", ops.pub("timestamp"), "--threshold", "two") == "fleet.roles"
    assert ops.refused(*words, "--timestamp", ops.pub("timestamp"), "--expires", "root=0") == "fleet.settings"
    assert ops.refused(*words, "--timestamp", ops.pub("timestamp"), "--expires", "rot=9") == "fleet.settings"
    assert ops.refused(*words, "--timestamp", ops.key("timestamp")) == "keys.not-public"
    assert ops.call(*words)[0] == 2
    assert not ops.repo.exists()
    (ops.at / "trust/trust.toml").write_text('[keys.release]\nmodels = ["other"]\n')
    alone = [ops.at / "trust/release.pub" if word == ops.at / "trust" else word for word in words]
    assert ops.refused(*alone, "--timestamp", ops.pub("timestamp")) == "fleet.roles", "its bounds would be lost"
    assert not ops.repo.exists()
    ops.init()
    assert ops.refused(*words, "--timestamp", ops.pub("timestamp")) == "fleet.exists"
    assert ops.refused("status", ops.at) == "fleet.absent"


@pytest.mark.parametrize(
    "text",
    ["schema = 2", "[expires_days]\nroot = true", "[bundles]\nthreshold = 0", "[bundle]\n", "expires_days = 3", "="],
)
def test_settings_with_a_mistake(ops: Any, text: str) -> None:
    ops.init()
    (ops.repo / "fleet.toml").write_text(text)
    assert ops.refused("status", ops.repo) == "fleet.settings"


def test_too_few_signatures_are_not_published(ops: Any) -> None:
    ops.init("--threshold", "root=2", roots=("alice", "bob"))
    ops.sign("alice", "targets", "rollouts")
    online = ["--key", ops.key("snapshot"), "--key", ops.key("timestamp")]
    assert ops.refused("publish", ops.repo, *online) == "fleet.signatures-missing"
    assert not (ops.repo / "public").exists()
    ops.sign("alice")  # twice is once
    assert ops.refused("publish", ops.repo, *online) == "fleet.signatures-missing"
    ops.sign("bob")
    assert ops.refused("publish", ops.repo, *online[:2]) == "fleet.signatures-missing", "the timestamp's own"
    ops.publish()
    ops.do("add", ops.repo, ops.bundle("tiny", 1))
    assert ops.refused("publish", ops.repo, *online) == "fleet.signatures-missing"
    assert ops.told("check", ops.repo)["offers"] == []
    ops.sign("targets")
    assert ops.refused("publish", ops.repo, *online, "--key", ops.key("targets")) == "fleet.key-unknown"
    ops.publish()
    assert len(ops.told("check", ops.repo)["offers"]) == 1


def test_a_key_signs_only_what_is_its_own(ops: Any) -> None:
    ops.init()
    assert ops.refused("sign", ops.repo, "--key", ops.key("stranger")) == "fleet.key-unknown"
    assert ops.refused("sign", ops.repo, "--key", ops.key("snapshot")) == "fleet.key-unknown"
    ops.sign("root", "targets", "rollouts")
    ops.publish()
    assert ops.refused("sign", ops.repo, "--key", ops.key("targets")) == "fleet.nothing-staged"
    assert ops.refused("sign", ops.repo, "--renew", "snapshot") == "fleet.roles"
    assert ops.call("sign", ops.repo)[0] == 2


def test_what_was_signed_and_then_changed_is_to_be_signed_again(ops: Any) -> None:
    ops.begin()
    ops.do("add", ops.repo, ops.bundle("tiny", 1), "--key", ops.key("targets"))
    ops.do("add", ops.repo, ops.bundle("other", 1))
    online = ["--key", ops.key("snapshot"), "--key", ops.key("timestamp")]
    assert ops.refused("publish", ops.repo, *online) == "fleet.signatures-missing"
    ops.sign("targets")
    ops.publish()
    assert len(ops.told("check", ops.repo)["offers"]) == 2


def test_staged_files_that_were_changed_are_not_published(ops: Any) -> None:
    ops.begin()
    online = ["--key", ops.key("snapshot"), "--key", ops.key("timestamp")]
    ops.do("add", ops.repo, ops.bundle("tiny", 1), "--key", ops.key("targets"))
    blob = next((ops.repo / "staged/blobs/sha256").iterdir())
    good = blob.read_bytes()
    blob.write_bytes(good + b"x")
    assert ops.refused("publish", ops.repo, *online) == "fleet.altered"
    blob.unlink()
    assert ops.refused("publish", ops.repo, *online) == "fleet.altered"
    blob.write_bytes(good)
    offer = ops.repo / "staged/targets/models/tiny/1.json"
    kept = offer.read_bytes()
    offer.write_bytes(kept + b" ")
    assert ops.refused("publish", ops.repo, *online) == "fleet.altered"
    offer.write_bytes(kept)
    metadata = ops.repo / "staged/metadata/targets.json"
    signed = metadata.read_bytes()
    body = json.loads(signed)
    body["signed"]["version"] += 1
    metadata.write_text(json.dumps(body))
    assert ops.refused("publish", ops.repo, *online) == "fleet.stale"
    metadata.write_bytes(b"{}")
    assert ops.refused("publish", ops.repo, *online) == "fleet.altered"
    metadata.write_bytes(signed)
    ops.publish()
    assert ops.codes() == set()


def test_a_blob_that_was_damaged_after_it_was_published_is_not_built_upon(ops: Any) -> None:
    ops.begin()
    ops.offer(ops.bundle("tiny", 1))
    bundle = ops.bundle("tiny", 2)
    shared = read_manifest(bundle)[0].files["shared.bin"].sha256
    blob = ops.repo / "public" / blob_path(shared)
    before = packed_as(blob)
    blob.write_bytes(blob.read_bytes()[:-1])
    assert ops.refused("add", ops.repo, bundle) == "fleet.altered"
    blob.unlink()
    ops.do("add", ops.repo, bundle)
    assert packed_as(ops.repo / "staged" / blob_path(shared)) == before, "packed as before: old offers hold again"
    ops.sign("targets")
    ops.publish()
    assert ops.codes() == set()


def test_two_at_a_time_do_not_change_it(ops: Any) -> None:
    ops.init()
    with ops.folder.changing():
        assert ops.refused("sign", ops.repo, "--key", ops.key("root")) == "fleet.busy"
    ops.sign("root")

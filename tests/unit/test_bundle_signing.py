"""Signing: k of n, in place, without changing what is signed; and every way in which a signature does not hold."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeai.api import BundleRejected, ConfigError, SignerRef
from edgeai.bundle.archive import pack
from edgeai.bundle.envelope import PAYLOAD_TYPE
from edgeai.bundle.keys import KeyPair, make_keys
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.reader import open_bundle, read_manifest, verify_bundle
from edgeai.bundle.signing import Signed, public_key_of, sign_bundle, signer_of
from edgeai.bundle.trust import TrustPolicy, check_signatures
from edgeai.testing.bundles import change_member


@pytest.fixture
def bundle(write_tiny: Callable[[bytes], Path], tiny: Manifest, tmp_path: Path) -> Path:
    pack(write_tiny(b"weights" * 300), tiny, tmp_path / "tiny.edgeai")
    return tmp_path / "tiny.edgeai"


@pytest.fixture
def key(tmp_path: Path) -> Callable[[str], KeyPair]:
    """A pair by name; private keys apart from the folder that is trusted."""

    def make(name: str, *, trusted: bool = True) -> KeyPair:
        pair = make_keys(name, tmp_path / "made")
        if trusted:
            (tmp_path / "trust").mkdir(exist_ok=True)
            (tmp_path / "trust" / f"{name}.pub").write_bytes(pair.public.path.read_bytes())
        return pair

    return make


@pytest.fixture
def trust(tmp_path: Path) -> Callable[..., TrustPolicy]:
    def policy(threshold: int = 1, unsigned: Any = "refuse") -> TrustPolicy:
        return TrustPolicy(keys=(tmp_path / "trust",), threshold=threshold, unsigned=unsigned)

    return policy


def sign(bundle: Path, *pairs: KeyPair) -> Signed:
    for pair in pairs:
        done = sign_bundle(bundle, signer_of(str(pair.private), str))
    return done


def refusal(bundle: Path, trust: TrustPolicy | None, cache: Path) -> BundleRejected:
    """Every way to a bundle refuses alike."""
    with pytest.raises(BundleRejected) as caught:
        read_manifest(bundle, trust=trust)
    with pytest.raises(BundleRejected) as again:
        open_bundle(bundle, trust=trust, cache_dir=cache)
    assert again.value.code == caught.value.code
    assert not list(cache.glob("[0-9a-f]*")), "nothing that was refused is unpacked"
    return caught.value


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_signatures(path: Path, data: bytes) -> Path:
    """The same archive, with other bytes as signatures.json; in our own form, so that only they can be at fault."""
    content = members(path) | {"signatures.json": data}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in ("manifest.json", "signatures.json", "CARD.md", "artifacts/m.tflite"):
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, content[name])
    return path


def envelope(path: Path) -> dict[str, Any]:
    return json.loads(members(path)["signatures.json"])  # type: ignore[no-any-return]


# --- signing ------------------------------------------------------------------------------------------


def test_signing_changes_neither_the_manifest_nor_the_digest_nor_any_file(
    bundle: Path, key: Any, trust: Any, tmp_path: Path
) -> None:
    before, digest = members(bundle), read_manifest(bundle)[1]
    bundle.chmod(0o640)
    pair = key("release")
    done = sign(bundle, pair)
    after = members(bundle)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"signatures.json"}
    assert list(after) == ["manifest.json", "signatures.json", "CARD.md", "artifacts/m.tflite"]
    assert (done.digest, done.added, done.key_ids) == (digest, True, (pair.public.key_id,))
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o640
    opened = open_bundle(bundle, trust=trust(), cache_dir=tmp_path / "cache")
    assert opened.digest == digest
    assert opened.signers == (SignerRef(name="release", key_id=pair.public.key_id),)
    assert not list(tmp_path.glob(".*.partial"))


def test_the_envelope_is_one_that_any_dsse_tool_reads(bundle: Path, key: Any) -> None:
    from securesystemslib.dsse import Envelope

    pair = key("release")
    sign(bundle, pair)
    read = Envelope.from_dict(envelope(bundle))
    assert read.payload == members(bundle)["manifest.json"]
    assert read.payload_type == PAYLOAD_TYPE
    assert list(read.verify([pair.public.key], 1)) == [pair.public.key_id]


def test_a_second_signature_keeps_the_first_and_order_does_not_matter(
    bundle: Path, key: Any, trust: Any, tmp_path: Path
) -> None:
    one, two = key("one"), key("two")
    other = tmp_path / "other.edgeai"
    other.write_bytes(bundle.read_bytes())
    sign(bundle, one)
    assert refusal(bundle, trust(2), tmp_path / "cache").code == "bundle.untrusted"
    sign(bundle, two)
    sign(other, two, one)
    assert other.read_bytes() == bundle.read_bytes()
    signers = open_bundle(bundle, trust=trust(2), cache_dir=tmp_path / "cache").signers
    assert {signer.name for signer in signers} == {"one", "two"}


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384", "rsa"])
def test_signing_again_with_a_key_changes_no_byte(
    bundle: Path, key: Any, trust: Any, tmp_path: Path, kind: str
) -> None:
    """ECDSA and RSA-PSS draw random numbers, so that this must be known and cannot come by itself."""
    made = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }
    private = tmp_path / "key.pem"
    if kind == "ed25519":
        private = key("release").private
    else:
        secret = made[kind]()
        private.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signer = signer_of(str(private), str)
    (tmp_path / "trust").mkdir(exist_ok=True)
    (tmp_path / "trust" / "k.pem").write_bytes(public_key_of(signer, "k"))
    assert sign_bundle(bundle, signer).added
    signed = bundle.read_bytes()
    assert not sign_bundle(bundle, signer_of(str(private), str)).added
    assert bundle.read_bytes() == signed
    assert len(open_bundle(bundle, trust=trust(), cache_dir=tmp_path / "cache").signers) == 1


def damage(bundle: Path) -> None:
    change_member(bundle, "artifacts/m.tflite", lambda weights: b"W" + weights[1:])


def test_a_bundle_that_is_not_sound_is_not_signed_and_not_touched(bundle: Path, key: Any) -> None:
    damage(bundle)
    data = bundle.read_bytes()
    with pytest.raises(BundleRejected) as caught:
        sign(bundle, key("release"))
    assert caught.value.code == "bundle.wrong-hash"
    assert bundle.read_bytes() == data
    assert len(list(bundle.parent.glob("*tiny*"))) == 1


def test_a_key_that_signed_a_bundle_says_nothing_of_one_that_was_damaged_since(bundle: Path, key: Any) -> None:
    pair = key("release")
    sign(bundle, pair)
    damage(bundle)
    with pytest.raises(BundleRejected) as caught:
        sign(bundle, pair)
    assert caught.value.code == "bundle.wrong-hash"


def test_a_link_to_a_bundle_stays_a_link(bundle: Path, key: Any, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(bundle)
    sign(tmp_path / "current", key("release"))
    assert (tmp_path / "current").is_symlink()
    assert "signatures.json" in members(bundle)


def test_ones_own_bad_signature_is_replaced(bundle: Path, key: Any, trust: Any, tmp_path: Path) -> None:
    pair = key("release")
    sign(bundle, pair)
    body = envelope(bundle)
    body["signatures"][0]["sig"] = base64.b64encode(b"x" * 64).decode()
    with_signatures(bundle, json.dumps(body).encode())
    assert refusal(bundle, trust(), tmp_path / "cache").code == "bundle.bad-signature"
    assert sign(bundle, pair).added
    assert open_bundle(bundle, trust=trust(), cache_dir=tmp_path / "cache").signers


# --- trust --------------------------------------------------------------------------------------------


def test_unsigned_is_refused_unless_it_is_accepted(bundle: Path, key: Any, trust: Any, tmp_path: Path) -> None:
    key("release")
    error = refusal(bundle, trust(), tmp_path / "cache")
    assert error.code == "bundle.unsigned"
    assert "edgeai sign" in (error.remedy or "")
    assert open_bundle(bundle, trust=trust(unsigned="accept"), cache_dir=tmp_path / "cache").signers == ()
    assert open_bundle(bundle, cache_dir=tmp_path / "cache").signers == ()


def test_untrusted_says_how_many_of_how_many_and_which_keys(bundle: Path, key: Any, trust: Any, tmp_path: Path) -> None:
    known, stranger = key("known"), key("stranger", trusted=False)
    sign(bundle, known, stranger)
    message = str(refusal(bundle, trust(2), tmp_path / "cache"))
    for word in ("1 of 2", f"known ({known.public.key_id[:16]})", f"{stranger.public.key_id[:16]} (not trusted)"):
        assert word in message, message
    assert "stranger" not in message, "a stranger's file is nowhere here, so nobody knows its name"


@pytest.mark.parametrize("there", [True, False])
def test_a_trust_folder_without_keys_trusts_nobody(bundle: Path, key: Any, tmp_path: Path, there: bool) -> None:
    sign(bundle, key("release", trusted=False))
    folder = tmp_path / "trusted"
    if there:
        folder.mkdir()
        (folder / "README.md").write_text("Nothing yet.")
    error = refusal(bundle, TrustPolicy(keys=(folder,)), tmp_path / "cache")
    assert error.code == "bundle.untrusted"
    assert f"no key in {folder}" in str(error)


def test_one_key_in_two_files_is_one_key(bundle: Path, key: Any, trust: Any, tmp_path: Path) -> None:
    pair = key("one")
    (tmp_path / "trust" / "copy.pem").write_bytes(pair.public.path.read_bytes())
    sign(bundle, pair)
    assert refusal(bundle, trust(2), tmp_path / "cache").code == "bundle.untrusted"


def test_one_signature_under_two_ids_is_one_signature(bundle: Path, key: Any, trust: Any, tmp_path: Path) -> None:
    one, two = key("one"), key("two")
    sign(bundle, one)
    body = envelope(bundle)
    body["signatures"].append({**body["signatures"][0], "keyid": two.public.key_id})
    with_signatures(bundle, json.dumps(body).encode())
    assert refusal(bundle, trust(2), tmp_path / "cache").code == "bundle.bad-signature"


def test_where_unsigned_is_accepted_a_stranger_signs_in_vain_and_a_bad_signature_is_still_refused(
    bundle: Path, key: Any, trust: Any, tmp_path: Path
) -> None:
    known = key("known")
    sign(bundle, key("stranger", trusted=False))
    assert open_bundle(bundle, trust=trust(unsigned="accept"), cache_dir=tmp_path / "a").signers == ()
    sign(bundle, known)
    assert [s.name for s in open_bundle(bundle, trust=trust(2, "accept"), cache_dir=tmp_path / "b").signers] == [
        "known"
    ]
    body = envelope(bundle)
    for signature in body["signatures"]:
        signature["sig"] = base64.b64encode(b"x" * 64).decode()
    with_signatures(bundle, json.dumps(body).encode())
    assert refusal(bundle, trust(unsigned="accept"), tmp_path / "cache").code == "bundle.bad-signature"


def test_signatures_of_another_manifest_do_not_serve(
    bundle: Path, key: Any, trust: Any, tmp_path: Path, tiny: Manifest
) -> None:
    """Neither with the payload that was signed nor with that of the bundle that they are put into."""
    pair = key("release")
    (tmp_path / "content" / "artifacts" / "m.tflite").write_bytes(b"other weights")
    pack(tmp_path / "content", tiny, tmp_path / "other.edgeai")
    sign(bundle, pair)
    stolen, payload = envelope(bundle), base64.b64encode(members(tmp_path / "other.edgeai")["manifest.json"])
    other = with_signatures(tmp_path / "other.edgeai", json.dumps(stolen).encode())
    assert refusal(other, trust(), tmp_path / "cache").code == "bundle.bad-signatures-file"
    with_signatures(other, json.dumps({**stolen, "payload": payload.decode()}).encode())
    assert refusal(other, trust(), tmp_path / "cache").code == "bundle.bad-signature"


def test_a_signature_of_the_same_bytes_as_something_else_does_not_serve(
    bundle: Path, key: Any, trust: Any, tmp_path: Path
) -> None:
    """DSSE signs what kind of thing it is too."""
    from securesystemslib.dsse import Envelope

    signer = signer_of(str(key("release").private), str)
    sign_bundle(bundle, signer)
    body = envelope(bundle)
    made = Envelope(members(bundle)["manifest.json"], "application/vnd.in-toto+json", {}).sign(signer)
    body["signatures"][0]["sig"] = base64.b64encode(bytes.fromhex(made.signature)).decode()
    with_signatures(bundle, json.dumps(body).encode())
    assert refusal(bundle, trust(), tmp_path / "cache").code == "bundle.bad-signature"


def filled(body: dict[str, Any]) -> str:
    """A signature of 64 bytes whose last digit has bits that are not of them."""
    sig = str(body["signatures"][0]["sig"])
    assert sig.endswith("=="), sig
    other = sig[:-3] + chr(ord(sig[-3]) + 1) + "=="
    assert base64.b64decode(other, validate=True) == base64.b64decode(sig)
    return other


SPOIL: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("no object", lambda body: []),
    ("unknown key", lambda body: body | {"comment": "x"}),
    ("unknown key of a signature", lambda body: body | {"signatures": [body["signatures"][0] | {"cert": "x"}]}),
    ("no payload", lambda body: {name: body[name] for name in body if name != "payload"}),
    ("payload is no base64", lambda body: body | {"payload": "A"}),
    ("payload in another alphabet", lambda body: body | {"payload": body["payload"][:-4] + "-_-_"}),
    ("another payload", lambda body: body | {"payload": base64.b64encode(b"{}").decode()}),
    ("another type", lambda body: body | {"payloadType": "application/vnd.in-toto+json"}),
    ("no signature", lambda body: body | {"signatures": []}),
    ("a key twice", lambda body: body | {"signatures": body["signatures"] * 2}),
    (
        "too many",
        lambda body: body | {"signatures": [body["signatures"][0] | {"keyid": f"{n:064x}"} for n in range(65)]},
    ),
    ("key id is none", lambda body: body | {"signatures": [body["signatures"][0] | {"keyid": "../x"}]}),
    ("no key id", lambda body: body | {"signatures": [{"sig": body["signatures"][0]["sig"]}]}),
    ("signature is no base64", lambda body: body | {"signatures": [body["signatures"][0] | {"sig": "A"}]}),
    ("signature is empty", lambda body: body | {"signatures": [body["signatures"][0] | {"sig": ""}]}),
    ("bits behind the end", lambda body: body | {"signatures": [body["signatures"][0] | {"sig": filled(body)}]}),
    ("signature is long", lambda body: body | {"signatures": [body["signatures"][0] | {"sig": "AAAA" * 5000}]}),
]


@pytest.mark.parametrize(("what", "spoil"), SPOIL, ids=[what for what, _ in SPOIL])
def test_signatures_that_are_not_of_the_form_are_refused_by_everyone(
    bundle: Path, key: Any, trust: Any, tmp_path: Path, what: str, spoil: Callable[[dict[str, Any]], Any]
) -> None:
    sign(bundle, key("release"))
    with_signatures(bundle, json.dumps(spoil(envelope(bundle))).encode())
    for policy in (trust(), trust(unsigned="accept"), None):
        assert refusal(bundle, policy, tmp_path / "cache").code == "bundle.bad-signatures-file"


@pytest.mark.parametrize("data", [b"", b"null", b"{", b"\xff", b"[" * 100_000, b'{"payload":"","payload":""}'])
def test_bytes_that_are_no_signatures(bundle: Path, tmp_path: Path, data: bytes) -> None:
    assert refusal(with_signatures(bundle, data), None, tmp_path / "cache").code == "bundle.bad-signatures-file"


def test_signatures_without_end_are_not_read(bundle: Path, tmp_path: Path) -> None:
    assert refusal(with_signatures(bundle, b" " * 7_000_000), None, tmp_path / "cache").code == "bundle.too-large"


def test_the_manifest_is_parsed_only_once_it_is_trusted(bundle: Path, key: Any, trust: Any, tmp_path: Path) -> None:
    key("release")
    content = members(bundle) | {"manifest.json": b"not even JSON"}
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, data)
    assert refusal(bundle, trust(), tmp_path / "cache").code == "bundle.unsigned"
    assert refusal(bundle, None, tmp_path / "cache").code == "bundle.invalid-manifest"


# --- unpacked bundles ---------------------------------------------------------------------------------


def test_an_unpacked_signed_bundle_is_a_signed_bundle(bundle: Path, key: Any, trust: Any, tmp_path: Path) -> None:
    sign(bundle, key("release"))
    root = open_bundle(bundle, cache_dir=tmp_path / "cache").root
    assert [signer.name for signer in open_bundle(root, trust=trust()).signers] == ["release"]
    assert verify_bundle(root) == verify_bundle(bundle)
    (root / "signatures.json").unlink()
    with pytest.raises(BundleRejected) as caught:
        open_bundle(root, trust=trust())
    assert caught.value.code == "bundle.unsigned"
    (root / "signatures.json").symlink_to("/dev/zero")
    with pytest.raises(BundleRejected) as caught:
        open_bundle(root, trust=trust())
    assert caught.value.code == "bundle.link"


def test_the_cache_says_nothing_about_trust(bundle: Path, key: Any, trust: Any, tmp_path: Path) -> None:
    """What was unpacked for someone who trusted it is not thereby trusted; nor is it unpacked twice."""
    cache = tmp_path / "cache"
    unsigned = tmp_path / "unsigned.edgeai"
    unsigned.write_bytes(bundle.read_bytes())
    sign(bundle, key("release"))
    signed = open_bundle(bundle, trust=trust(), cache_dir=cache)
    with pytest.raises(BundleRejected) as caught:
        open_bundle(unsigned, trust=trust(), cache_dir=cache)
    assert caught.value.code == "bundle.unsigned"
    weights = signed.path("artifacts/m.tflite").stat().st_ino
    assert open_bundle(unsigned, cache_dir=cache).root == signed.root
    assert not (signed.root / "signatures.json").exists()
    assert open_bundle(bundle, trust=trust(), cache_dir=cache) == signed
    assert (signed.root / "signatures.json").read_bytes() == members(bundle)["signatures.json"]
    assert signed.path("artifacts/m.tflite").stat().st_ino == weights
    assert {path.name for path in cache.iterdir()} == {signed.root.name, ".lock"}


# --- what it costs ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cryptography_is_imported_only_to_hold_a_signature_to_a_key(
    bundle: Path, key: Any, trust: Any, tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from edgeai.bundle.reader import open_bundle;"
        "a = sys.argv[1:]; policy = None\n"
        "if a[3] != 'none':\n"
        "    from edgeai.bundle.trust import TrustPolicy\n"
        "    policy = TrustPolicy(keys=(Path(a[2]),), unsigned=a[3])\n"
        "open_bundle(a[0], cache_dir=Path(a[1]), trust=policy);"
        "print(sorted({'cryptography', 'securesystemslib', 'edgeai.bundle.envelope'} & set(sys.modules)))"
    )

    def imported(unsigned: str, folder: str = "trust") -> str:
        arguments = [str(bundle), str(tmp_path / "cache"), str(tmp_path / folder), unsigned]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    pair = key("release")
    assert imported("none") == "[]", "an unsigned bundle pays for nothing"
    assert imported("accept") == "['edgeai.bundle.envelope']"
    sign(bundle, pair)
    assert imported("none") == imported("accept", "no-such-folder") == "['edgeai.bundle.envelope']"
    assert imported("refuse") == "['cryptography', 'edgeai.bundle.envelope', 'securesystemslib']"


def test_verdicts_of_single_signatures(bundle: Path, key: Any) -> None:
    one, two = key("one"), key("two", trusted=False)
    sign(bundle, one, two)
    verdicts = verify_bundle(bundle)
    assert verdicts.envelope is not None
    seen = check_signatures(verdicts.envelope, verdicts.manifest_bytes, [one.public])
    assert {item.key_id: item.verdict for item in seen} == {
        one.public.key_id: "good",
        two.public.key_id: "unknown",
    }


def test_a_full_disk_leaves_the_bundle_as_it_was(bundle: Path, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before, signer = bundle.read_bytes(), signer_of(str(key("release").private), str)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError) as caught:
        sign_bundle(bundle, signer)
    assert caught.value.code == "keys.unwritable"
    assert bundle.read_bytes() == before
    assert not list(bundle.parent.glob(".*.partial"))

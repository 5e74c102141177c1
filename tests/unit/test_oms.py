"""OpenSSF Model Signing: what is written is what the foreign tool takes, and no other key or content is."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeai.api.errors import BundleRejected, ConfigError
from edgeai.bundle.archive import pack
from edgeai.bundle.keys import KeyPair, make_keys
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.oms import sign_oms, statement
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.cli.main import run
from edgeai.testing.require import require

TOOL = shutil.which("model_signing")


@pytest.fixture
def bundle(tmp_path: Path, write_tiny: Callable[[bytes], Path], tiny: Manifest) -> Path:
    folder = write_tiny(b"weights")
    (folder / "artifacts/more").mkdir()
    (folder / "artifacts/more/b.bin").write_bytes(b"b")
    (folder / "artifacts/more-of-it.bin").write_bytes(b"c")
    pack(folder, tiny, tmp_path / "tiny.edgeai")
    return tmp_path / "tiny.edgeai"


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    return make_keys("oms", tmp_path / "keys", p256=True)


def unzipped(bundle: Path) -> Path:
    """As anybody unpacks it."""
    folder = bundle.with_suffix("")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    return folder


def test_every_file_is_named_and_the_subject_is_of_all_of_them(bundle: Path, pair: KeyPair) -> None:
    body = json.loads(sign_oms(bundle, signer_of(str(pair.private), lambda what: "")))
    statement = json.loads(base64.b64decode(body["dsseEnvelope"]["payload"]))
    resources = {item["name"]: item["digest"] for item in statement["predicate"]["resources"]}
    folder = unzipped(bundle)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(resources) == files
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in resources.items())
    root = hashlib.sha256(b"".join(bytes.fromhex(resources[name]) for name in sorted(resources))).hexdigest()
    assert statement["subject"] == [{"name": "tiny-1.0.0", "digest": {"sha256": root}}]


def test_what_is_signed_is_of_the_form_that_the_foreign_tool_reads() -> None:
    """As a whole, for where that tool is not installed; tests/conformance/oms holds it against their vectors."""
    files = {"b.bin": "11" * 32, "a/m.tflite": "22" * 32, "a-b/m.tflite": "33" * 32}
    order = ("a-b/m.tflite", "a/m.tflite", "b.bin")
    assert json.loads(statement("tiny-1.0.0", files)) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": "tiny-1.0.0",
                "digest": {"sha256": hashlib.sha256(b"\x33" * 32 + b"\x22" * 32 + b"\x11" * 32).hexdigest()},
            }
        ],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": [{"algorithm": "sha256", "name": name, "digest": files[name]} for name in order],
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": ["signatures.json"],
            },
        },
    }


def test_the_bundle_stays_as_it_is_and_the_signature_lies_beside_it(
    bundle: Path, pair: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bundle.read_bytes()
    assert run(["sign", str(bundle), "--oms", "--key", str(pair.private)]) == 0
    assert "tiny.edgeai.oms.sig: OpenSSF Model Signing 1.0" in capsys.readouterr().out
    assert bundle.read_bytes() == before
    assert json.loads(Path(f"{bundle}.oms.sig").read_text())["mediaType"].startswith("application/vnd.dev.sigstore")


def test_other_keys_and_bundles_that_are_not_sound_are_refused(bundle: Path, pair: KeyPair, tmp_path: Path) -> None:
    ed25519 = make_keys("release", tmp_path / "keys")
    with pytest.raises(ConfigError) as refused:
        sign_oms(bundle, signer_of(str(ed25519.private), lambda what: ""))
    assert refused.value.code == "keys.not-p256"
    assert run(["sign", str(bundle), "--oms", "--key", str(pair.private), "--key", str(ed25519.private)]) == 2
    bundle.write_bytes(bundle.read_bytes()[:-1])
    with pytest.raises(BundleRejected):
        sign_oms(bundle, signer_of(str(pair.private), lambda what: ""))


def test_the_foreign_tool_verifies_it_and_refuses_what_was_changed(bundle: Path, pair: KeyPair, tmp_path: Path) -> None:
    require("model-signing", TOOL is not None, "no program model_signing: pip install 'edgeai[oms]'")
    signature = tmp_path / "s.sig"
    signature.write_bytes(sign_oms(bundle, signer_of(str(pair.private), lambda what: "")))
    release = make_keys("release", tmp_path / "keys")
    sign_bundle(bundle, signer_of(str(release.private), lambda what: ""))  # ours is added later, and is no part of it
    folder = unzipped(bundle)
    assert (folder / "signatures.json").is_file()

    def verified(key: Path = pair.public.path) -> bool:
        words = ["verify", "key", str(folder), "--public_key", str(key), "--signature", str(signature)]
        done = subprocess.run([str(TOOL), *words], capture_output=True, text=True, timeout=300)
        assert "Verification" in done.stdout + done.stderr
        return done.returncode == 0

    assert verified()
    assert not verified(make_keys("other", tmp_path / "keys", p256=True).public.path)
    weights = folder / "artifacts/m.tflite"
    weights.write_bytes(b"other")
    assert not verified()
    weights.write_bytes(b"weights")
    assert verified()
    (folder / "more.txt").write_text("")
    assert not verified()

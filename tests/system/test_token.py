"""A key that never leaves its token: SoftHSM, through the same PKCS#11 door as a smart card or a network HSM."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeai.testing.require import require

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
GUARD = ROOT / "models" / "modality-guard" / "modality-guard-1.0.1.edgeai"
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
PIN = "4321"

_NEW_KEY = """
import sys, pkcs11
from pkcs11.util.ec import encode_named_curve_parameters
from pkcs11 import Attribute, KeyType
token = pkcs11.lib(sys.argv[1]).get_token(token_label="Release")
with token.open(user_pin=sys.argv[2], rw=True) as session:
    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(sys.argv[3])}
    session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(
        store=True, id=bytes([int(sys.argv[4])]), label="sign"
    )
"""


class Token:
    """A software token of its own with two keys, and the command line with it in reach."""

    def __init__(self, folder: Path, module: str, tool: str) -> None:
        self.folder, self.module = folder, module
        (folder / "tokens").mkdir()
        settings = folder / "softhsm2.conf"
        settings.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
        self.environment = {**os.environ, "SOFTHSM2_CONF": str(settings)}
        self._do(tool, "--init-token", "--free", "--label", "Release", "--pin", PIN, "--so-pin", "8765")
        for key, curve in ((2, "secp256r1"), (3, "secp384r1")):
            self._do(sys.executable, "-c", _NEW_KEY, module, PIN, curve, str(key))

    def uri(self, key: int = 2, *, token: str = "Release", pin: str = PIN) -> str:
        file = self.folder / f"pin-{pin}"
        file.write_text(f"{pin}\n")
        return f"pkcs11:token={token};id=%{key:02x}?module-path={self.module}&pin-source=file:{file}"

    def edgeai(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgeai", *map(str, arguments)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=600)

    def _do(self, *command: str) -> None:
        subprocess.run(command, env=self.environment, check=True, capture_output=True, timeout=600)


@pytest.fixture
def token(tmp_path: Path) -> Token:
    tool = shutil.which("softhsm2-util")
    module = next((path for path in MODULES if Path(path).exists()), "")
    require("softhsm2", bool(tool and module), "SoftHSM is not installed; apt-get install softhsm2")
    return Token(tmp_path, module, str(tool))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copy(GUARD, tmp_path / "guard.edgeai"))


@pytest.fixture
def public(token: Token, tmp_path: Path) -> Callable[[int], Path]:
    def write(key: int) -> Path:
        done = token.edgeai("keys", "public", token.uri(key), "--comment", f"Token {key}")
        assert done.returncode == 0, done.stderr
        path = tmp_path / f"token-{key}.pub"
        path.write_text(done.stdout)
        return path

    return write


@pytest.mark.parametrize("key", [2, 3], ids=["P-256", "P-384"])
def test_a_key_in_a_token_signs_and_its_public_half_verifies(
    token: Token, bundle: Path, public: Callable[[int], Path], key: int
) -> None:
    done = token.edgeai("sign", bundle, "--key", token.uri(key))
    assert done.returncode == 0, done.stderr
    own, other = public(key), public(5 - key)
    good = token.edgeai("verify", bundle, "--trust", own)
    assert good.returncode == 0, good.stdout
    assert f"Token {key}" in good.stdout
    assert token.edgeai("verify", bundle, "--trust", other).returncode == 1


@pytest.mark.parametrize(
    "where", [{"pin": "0000"}, {"key": 9}, {"token": "Other"}], ids=["wrong PIN", "no such key", "no such token"]
)
def test_what_the_token_refuses_leaves_the_bundle_as_it_was(token: Token, bundle: Path, where: dict[str, str]) -> None:
    before = bundle.read_bytes()
    done = token.edgeai("sign", bundle, "--key", token.uri(**where))
    assert done.returncode == 2
    assert "keys.token" in done.stderr
    assert "0000" not in done.stderr.replace("pin-0000", ""), "a PIN is never said"
    assert bundle.read_bytes() == before

"""Keys: made and read, in files and in tokens; and what is no key."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner, HSMSigner, SSlibKey

from edgeai.api import ConfigError
from edgeai.bundle.keys import key_files, make_keys, read_keys, read_public_key
from edgeai.bundle.pkcs11 import TokenKey, parse_uri, token_signer
from edgeai.bundle.signing import is_open_to_others, public_key_of, signer_of


def code_of(act: Callable[[], Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        act()
    assert caught.value.remedy
    return caught.value.code


def pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[no-any-return]


def private_pem(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[no-any-return]


def test_a_pair_is_made_once_and_its_private_half_is_ones_own(tmp_path: Path) -> None:
    pair = make_keys("release", tmp_path / "new" / "keys", comment="Release\x1b[31m key")
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    assert not is_open_to_others(str(pair.private))
    assert (pair.public.name, pair.public.comment) == ("release", "Release [31m key")
    assert read_public_key(pair.public.path) == pair.public
    assert signer_of(str(pair.private), str).public_key.keyid == pair.public.key_id
    before = pair.private.read_bytes()
    assert code_of(lambda: make_keys("release", pair.private.parent)) == "keys.exists"
    pair.public.path.unlink()
    assert code_of(lambda: make_keys("release", pair.private.parent)) == "keys.exists"
    assert pair.private.read_bytes() == before


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a b"])
def test_names_that_are_no_file_names(tmp_path: Path, name: str) -> None:
    assert code_of(lambda: make_keys(name, tmp_path)) == "keys.name"
    assert not list(tmp_path.iterdir())


def test_keys_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert code_of(lambda: make_keys("a", tmp_path / "file")) == "keys.unwritable"


def test_an_encrypted_key_wants_its_passphrase(tmp_path: Path) -> None:
    pair = make_keys("release", tmp_path, passphrase=b"correct horse")
    asked: list[str] = []

    def answer(what: str) -> str:
        asked.append(what)
        return "correct horse"

    assert signer_of(str(pair.private), answer).public_key.keyid == pair.public.key_id
    assert asked == [f"passphrase of {pair.private}"]
    assert code_of(lambda: signer_of(str(pair.private), lambda what: "wrong")) == "keys.unreadable"
    assert b"ENCRYPTED" in pair.private.read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"junk", b"\xff" * 100])
def test_what_is_no_private_key_does_not_sign(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.key"
    if content is not None:
        path.write_bytes(content)
    assert code_of(lambda: signer_of(str(path), str)) == "keys.unreadable"


def test_a_public_key_does_not_sign_nor_does_a_kind_that_cannot(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    assert code_of(lambda: signer_of(str(path), str)) == "keys.unreadable"
    path.write_bytes(private_pem(x25519.X25519PrivateKey.generate()))
    assert code_of(lambda: signer_of(str(path), str)) == "keys.unreadable"


def test_what_is_no_public_key_is_not_passed_over(tmp_path: Path) -> None:
    make_keys("good", tmp_path / "made")
    good = (tmp_path / "made" / "good.pub").read_bytes()
    secret = (tmp_path / "made" / "good.key").read_bytes()
    weak = rsa.generate_private_key(65537, 1024)
    wrong = (b"", b"junk", good[:60], secret, good + secret, pem(weak), pem(x25519.X25519PrivateKey.generate()))
    for content in (*wrong, b"\xff" * 200_000):
        folder = tmp_path / "trust"
        folder.mkdir(exist_ok=True)
        (folder / "good.pub").write_bytes(good)
        (folder / "z.pem").write_bytes(content)
        assert code_of(lambda: read_keys([tmp_path / "trust"])) == "keys.not-public", content
    (tmp_path / "trust" / "z.pem").unlink()
    (tmp_path / "trust" / "z.pem").symlink_to("/nowhere")
    assert code_of(lambda: read_keys([tmp_path / "trust"])) == "keys.not-public"


def test_the_keys_of_a_folder_are_its_pub_and_pem_files(tmp_path: Path) -> None:
    for name in ("b", "a"):
        make_keys(name, tmp_path)
    (tmp_path / "README.md").write_text("who they are")
    (tmp_path / ".old.pub").write_text("junk")
    (tmp_path / "c.pem").symlink_to(tmp_path / "a.pub")
    assert [path.name for path in key_files(tmp_path)] == ["a.pub", "b.pub", "c.pem"]
    assert [key.name for key in read_keys([tmp_path])] == ["a", "b"]
    assert read_keys([tmp_path / "none"]) == ()


def test_an_id_is_the_keys_own_whatever_form_its_file_has(tmp_path: Path) -> None:
    secret = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "a.pub").write_bytes(b"# one\n" + pem(secret))
    (tmp_path / "b.pub").write_bytes(pem(secret).replace(b"\n", b"\r\n"))
    assert read_public_key(tmp_path / "a.pub").key_id == read_public_key(tmp_path / "b.pub").key_id


def test_the_public_half_of_every_kind_can_be_had(tmp_path: Path) -> None:
    signers = [CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa(), CryptoSigner.generate_rsa(size=2048)]
    for signer in signers:
        (tmp_path / "a.pub").write_bytes(public_key_of(signer, "who"))
        assert read_public_key(tmp_path / "a.pub").key_id == signer.public_key.keyid
        assert read_public_key(tmp_path / "a.pub").comment == "who"


def test_a_private_key_that_others_can_read_is_noticed(tmp_path: Path) -> None:
    pair = make_keys("a", tmp_path)
    pair.private.chmod(0o640)
    assert is_open_to_others(str(pair.private))
    assert not is_open_to_others("pkcs11:token=x")


# --- tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("pkcs11:", TokenKey()),
        ("pkcs11:token=Release%20HSM;id=%02", TokenKey(token="Release HSM", key_id=2)),
        ("pkcs11:id=%01%00", TokenKey(key_id=256)),
        ("pkcs11:?module-path=/usr/lib/a%20b.so", TokenKey(module_path="/usr/lib/a b.so")),
        (
            "pkcs11:id=%0a?module-path=/x.so&pin-source=file:/run/pin",
            TokenKey(key_id=10, module_path="/x.so", pin_file=Path("/run/pin")),
        ),
        ("pkcs11:?pin-source=/run/pin", TokenKey(pin_file=Path("/run/pin"))),
    ],
)
def test_uris(uri: str, says: TokenKey) -> None:
    assert parse_uri(uri) == says


@pytest.mark.parametrize(
    "uri",
    [
        *("pkcs11:object=x", "pkcs11:token", "pkcs11:token=a;token=b", "pkcs11:?pin-value=1234"),
        *("pkcs11:?pin-source=https://x/pin", "pkcs11:slot-id=1"),
    ],
)
def test_what_a_uri_says_and_is_not_understood_is_refused(uri: str) -> None:
    assert code_of(lambda: parse_uri(uri)) == "keys.pkcs11-uri"


class Token:
    """Answers for securesystemslib's HSMSigner, with an ECDSA key: which token and key, which PIN, was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.key = CryptoSigner.generate_ecdsa()
        self.asked: list[Any] = []
        monkeypatch.setattr(HSMSigner, "import_", self.find)
        monkeypatch.setattr(HSMSigner, "from_priv_key_uri", self.open)

    def find(self, key_id: int, label: str | None, pin: Callable[[str], str]) -> tuple[str, SSlibKey]:
        self.asked += [key_id, label]
        assert isinstance(self.key.public_key, SSlibKey)
        return "hsm:2", self.key.public_key

    def open(self, uri: str, public: SSlibKey, pin: Callable[[str], str]) -> CryptoSigner:
        self.asked += [uri, pin("pin")]
        return self.key


def test_a_pkcs11_uri_goes_to_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = Token(monkeypatch)
    monkeypatch.setenv("PYKCS11LIB", "")  # so that what the URI sets is undone
    (tmp_path / "pin").write_text("123456\n")
    signer = signer_of(f"pkcs11:token=Build;id=%03?module-path=/x.so&pin-source=file:{tmp_path}/pin", lambda what: "no")
    assert signer.public_key == token.key.public_key
    assert token.asked == [3, "Build", "hsm:2", "123456"]
    assert os.environ["PYKCS11LIB"] == "/x.so"
    signer_of("pkcs11:", lambda what: f"asked for the {what}")
    assert token.asked[-1] == "asked for the PIN of the token"


def test_without_the_extra_a_token_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> Any:
        raise UnsupportedLibraryError("'python-pkcs11' required")

    monkeypatch.setattr(HSMSigner, "import_", absent)
    with pytest.raises(ConfigError, match="python-pkcs11") as caught:
        token_signer("pkcs11:token=x", str)
    assert caught.value.code == "keys.pkcs11-missing"
    assert caught.value.remedy == "pip install 'edgeai[hsm]'"


def test_what_a_token_answers_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> Any:
        raise ValueError("No PKCS#11 token found for label x")

    monkeypatch.setattr(HSMSigner, "import_", refuse)
    assert code_of(lambda: token_signer("pkcs11:token=x", str)) == "keys.token"
    Token(monkeypatch)
    assert code_of(lambda: token_signer("pkcs11:?pin-source=/no/such/pin", str)) == "keys.token"

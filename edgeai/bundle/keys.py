"""Public keys as files, and making a pair of them.

A key's name is its file's: what people call a key is theirs to say, what it is says its id, which is computed from the
key itself (securesystemslib's: SHA-256 of the key as canonical JSON). securesystemslib and cryptography are imported
when a key is read, and not before: a start without keys must not pay for them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeai.api.errors import ConfigError
from edgeai.bundle.bounds import BOUNDS_NAME, Bounds, read_bounds

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

SUFFIXES: Final = (".pub", ".pem")
"""Of the files of a trust folder that are taken to be keys; others (a README) are left alone."""
MAX_KEY_BYTES: Final = 64 * 1024
MIN_RSA_BITS: Final = 2048
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public key and where it lies.

    Attributes:
        comment: the text before the PEM block, if there is any.
        bounds: what it may sign, and until when.
    """

    key_id: str
    name: str
    comment: str
    path: Path
    key: SSlibKey
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """What ``make_keys`` wrote."""

    private: Path
    public: PublicKey


def key_files(path: Path) -> list[Path]:
    """The key files of a trust folder, by name; a file stands for itself; nothing where there is nothing."""
    if path.is_dir():
        return sorted(item for item in path.iterdir() if item.suffix in SUFFIXES and not item.name.startswith("."))
    return [path] if path.exists() else []


def read_keys(paths: Iterable[Path]) -> tuple[PublicKey, ...]:
    """Every public key of these files and folders, with its bounds; one that lies there twice counts once.

    Raises:
        ConfigError: ``keys.not-public`` for a file that is no public key (a private one above all). None is passed
            over: a trust folder that holds something else is not what its owner thinks it is. ``keys.bounds`` for a
            mistake in its ``trust.toml``, or for one key with two bounds.
    """
    by_id: dict[str, PublicKey] = {}
    for path in paths:
        files = key_files(path)
        bounds = bounds_of(path) if files else {}
        for file in files:
            key = replace(read_public_key(file), bounds=bounds.get(key_name(file), Bounds()))
            first = by_id.setdefault(key.key_id, key)
            if first.bounds != key.bounds:
                raise ConfigError(
                    f"{first.path} and {key.path} hold one key, which is bound in two ways ({BOUNDS_NAME})",
                    code="keys.bounds",
                    remedy="take one of the files away, or bind both names alike",
                )
    return tuple(by_id.values())


def bounds_of(path: Path) -> Mapping[str, Bounds]:
    """What ``trust.toml`` says of a trust folder's keys, or of those beside a key file, by name. Reads no key.

    Raises:
        ConfigError: ``keys.bounds``.
    """
    folder = path if path.is_dir() else path.parent
    return read_bounds(folder, {key_name(file) for file in key_files(folder)})


def read_public_key(path: Path) -> PublicKey:
    """One PEM file: ed25519, ECDSA (P-256, P-384, P-521), RSA of 2048 bits or more, or ML-DSA.

    Raises:
        ConfigError: ``keys.not-public``.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES)
        if b"PRIVATE KEY-----" in data:
            raise _not_public(path, "it holds a private key", "remove it from there, and replace that key everywhere")
        crypto = load_pem_public_key(data)
        if isinstance(crypto, RSAPublicKey) and crypto.key_size < MIN_RSA_BITS:
            raise _not_public(path, f"RSA of {crypto.key_size} bits is too weak", f"use {MIN_RSA_BITS} bits or more")
        key = SSlibKey.from_crypto(crypto)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise _not_public(path, why, "put a public key in PEM there, as `edgeai keys new` writes it") from error
    return PublicKey(key_id=key.keyid, name=key_name(path), comment=_comment(data), path=path, key=key)


def key_name(path: Path) -> str:
    """What people call the key in this file: the file's name without its suffixes."""
    name = path.name
    while Path(name).suffix in (*SUFFIXES, ".key"):
        name = Path(name).stem
    return name


def make_keys(
    name: str, folder: Path, *, comment: str = "", passphrase: bytes | None = None, p256: bool = False
) -> KeyPair:
    """Make a pair: ``NAME.key`` (mode 0600, encrypted when there is a passphrase) and ``NAME.pub``.

    ed25519; or with ``p256`` ECDSA on P-256, for tools that do not know the other.

    Raises:
        ConfigError: ``keys.name``; ``keys.exists``: no key is ever overwritten; ``keys.unwritable``.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be a key's name", code="keys.name", remedy="use letters, digits and _ . -, at most 64"
        )
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    for path in (private, public):
        if path.exists():
            raise ConfigError(f"{path} is there already", code="keys.exists", remedy="choose another name")
    key = generate_private_key(SECP256R1()) if p256 else Ed25519PrivateKey.generate()
    protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection), 0o600)
        _write(public, public_pem(key.public_key(), comment or name), 0o644)
    except OSError as error:
        raise ConfigError(
            f"keys cannot be written to {folder}: {error.strerror}",
            code="keys.unwritable",
            remedy="choose another folder",
        ) from error
    return KeyPair(private=private, public=read_public_key(public))


def public_pem(key: object, comment: str) -> bytes:
    """A public key of cryptography's as a file: a line of comment (RFC 7468 section 5.2 allows it), then the PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    line = "".join(character if character.isprintable() else " " for character in comment).strip()
    return f"# {line}\n".encode() + pem


def crypto_key(key: SSlibKey) -> object:
    """The key as one of cryptography's: ed25519 stands in an ``SSlibKey`` as hexadecimal digits, others as PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = str(key.keyval["public"])
    if key.keytype == "ed25519":
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    return load_pem_public_key(public.encode())


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _comment(data: bytes) -> str:
    before = data.partition(b"-----BEGIN")[0].decode("utf-8", "replace").strip()
    line = before.splitlines()[0].lstrip("# ") if before else ""
    return "".join(character for character in line if character.isprintable())[:200]


def _not_public(path: Path, why: str, remedy: str) -> ConfigError:
    return ConfigError(f"{path} is not a public key that can be trusted: {why}", code="keys.not-public", remedy=remedy)

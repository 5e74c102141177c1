"""``pkcs11:`` URIs (RFC 7512): a private key that never leaves its token, through securesystemslib's ``HSMSigner``.

Of the attributes are understood: ``token`` (its label), ``id`` (CKA_ID of the key), ``module-path`` (the token's
PKCS#11 library; or the environment's ``PYKCS11LIB``) and ``pin-source=file:...``. The key is ECDSA, P-256 or P-384.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from edgeai.api.errors import ConfigError

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

SCHEME: Final = "pkcs11:"
_LIBRARY: Final = "PYKCS11LIB"
_KNOWN: Final = ("token", "id", "module-path", "pin-source")
_DEFAULT_ID: Final = 2  # the slot of a PIV card that is meant for signatures, as in HSMSigner


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """What a URI says. ``token`` is empty where there is only one token."""

    token: str = ""
    key_id: int = _DEFAULT_ID
    module_path: str = ""
    pin_file: Path | None = None


def parse_uri(uri: str) -> TokenKey:
    """Read a URI; what it says and is not understood is refused.

    Raises:
        ConfigError: ``keys.pkcs11-uri``.
    """
    parts: dict[str, str] = {}
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    for item in [*path.split(";"), *query.split("&")]:
        name, equals, value = item.partition("=")
        if item and (not equals or name not in _KNOWN or name in parts):
            raise _bad_uri(uri, f"{item!r} is not understood, or there twice")
        if item:
            parts[name] = value
    pin = parts.get("pin-source", "")
    if pin and not pin.startswith(("file:", "/")):
        raise _bad_uri(uri, "pin-source must be a file")
    raw = unquote_to_bytes(parts.get("id", ""))
    return TokenKey(
        token=unquote(parts.get("token", "")),
        key_id=int.from_bytes(raw) if raw else _DEFAULT_ID,
        module_path=unquote(parts.get("module-path", "")),
        pin_file=Path(unquote(urlsplit(pin).path)) if pin else None,
    )


def token_signer(uri: str, pin: Callable[[str], str]) -> Signer:
    """A signer whose private key stays in its token.

    Args:
        uri: which token and key.
        pin: asked for the PIN, unless the URI names a file that holds it.

    Raises:
        ConfigError: ``keys.pkcs11-uri``; ``keys.pkcs11-missing`` without the extra; ``keys.token`` for whatever the
            token or its library answers.
    """
    from securesystemslib.signer import HSMSigner

    where = parse_uri(uri)
    if where.module_path:
        os.environ[_LIBRARY] = where.module_path

    def ask(secret: str) -> str:
        return _read_pin(where.pin_file) if where.pin_file else pin(secret)

    with token_errors():
        address, public = HSMSigner.import_(where.key_id, where.token or None, ask)
        return HSMSigner.from_priv_key_uri(address, public, ask)


@contextmanager
def token_errors() -> Iterator[None]:
    """What a token, its library or a missing library says, as errors of ours.

    Raises:
        ConfigError: ``keys.pkcs11-missing``, ``keys.token``.
    """
    from securesystemslib.exceptions import UnsupportedLibraryError

    try:
        yield
    except UnsupportedLibraryError as error:
        raise ConfigError(
            f"keys in tokens need python-pkcs11: {error}",
            code="keys.pkcs11-missing",
            remedy="pip install 'edgeai[hsm]'",
        ) from error
    except _token_says() as error:
        raise ConfigError(
            f"the token does not sign: {error or type(error).__name__}",
            code="keys.token",
            remedy="look at the token's label, the key's id, the PIN, and module-path (or PYKCS11LIB)",
        ) from error


def _token_says() -> tuple[type[Exception], ...]:
    """What securesystemslib raises, and python-pkcs11 where it is installed."""
    try:
        return (ValueError, importlib.import_module("pkcs11.exceptions").PKCS11Error)
    except ImportError:
        return (ValueError,)


def _read_pin(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: the PIN cannot be read: {error}", code="keys.token", remedy="name a file with it as pin-source"
        ) from error


def _bad_uri(uri: str, why: str) -> ConfigError:
    return ConfigError(
        f"{uri} names no key: {why}",
        code="keys.pkcs11-uri",
        remedy="pkcs11:token=LABEL;id=%02?module-path=/path/to/library.so&pin-source=file:/path",
    )

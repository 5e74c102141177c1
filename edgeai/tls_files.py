"""TLS files that are renewed under a running service: new handshakes use the new ones, as soon as they can be used."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeai.api.errors import EdgeaiError
from edgeai.logs import Log

_log = Log("edgeai.tls")

Periods = tuple[tuple[float, float], ...]
_Stamp = tuple[tuple[int, ...] | None, ...]


class TlsFiles:
    """A context that follows its files. What cannot be used is said, and the context before it stays.

    Attributes:
        refusal: why the files as they are now are not used; empty while they are.
    """

    def __init__(self, name: str, make: Callable[[], ssl.SSLContext], **files: Path | None) -> None:
        """Load them.

        Args:
            name: the profile's table, ``ingest.scp.tls``.
            make: a context of the files as they are now; an ``EdgeaiError`` when they cannot be used.
            files: the table's key -> file.
        """
        self._name, self._make = name, make
        self._files = {key: path for key, path in files.items() if path is not None}
        self._guard = threading.Lock()
        self.refusal = ""
        self._stamp = self._look()
        self._context = make()
        self._periods = self._read()

    def context(self) -> ssl.SSLContext:
        """For the next handshake; never raises."""
        with self._guard:
            # Looked at before it is read: what changes meanwhile is read again next time.
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                self._renew()
            return self._context

    def detail(self) -> dict[str, Any]:
        """For the heartbeat (`edgeai.health`): what new handshakes use, by the profile's keys."""
        self.context()
        with self._guard:
            loaded = {f"{self._name}.{key}": {"periods": periods} for key, periods in self._periods.items()}
            return {"loaded": loaded, "refusal": self.refusal[:300]}

    def _renew(self) -> None:
        try:
            context, periods = self._make(), self._read()
        except (EdgeaiError, OSError, ValueError) as error:
            self.refusal = str(error)
            _log.warning("certificate.not-renewed", table=self._name, why=self.refusal)
            return
        self._context, self._periods, self.refusal = context, periods, ""
        _log.info("certificate.renewed", table=self._name)

    def _look(self) -> _Stamp:
        return tuple(_stamp(path) for path in self._files.values())

    def _read(self) -> dict[str, Periods]:
        periods = {}
        for key, path in self._files.items():
            # OpenSSL takes more than can be parsed here (TRUSTED CERTIFICATE, say): what it took is in use.
            with suppress(OSError, ValueError):
                if key != "key":
                    periods[key] = periods_of(path)
        return periods


def periods_of(path: Path) -> Periods:
    """(Begin, end) of each certificate in a PEM file, seconds since the epoch.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds none.
    """
    from cryptography import x509

    listed = x509.load_pem_x509_certificates(path.read_bytes())
    return tuple((item.not_valid_before_utc.timestamp(), item.not_valid_after_utc.timestamp()) for item in listed)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino


__all__ = ["Periods", "TlsFiles", "periods_of"]

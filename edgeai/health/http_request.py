"""The head of an HTTP request (RFC 9112), read strictly, and which hosts it may name. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edgeai.ports import LOCAL_NAMES

_LINE: Final = re.compile(r"([A-Z]{1,16}) (\S{1,2048}) HTTP/1\.([01])")
_FIELD: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+)(?::\d{1,5})?")


class BadRequest(ValueError):
    """The request is none; the message says why, without quoting it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked: the path without its query, and the host that was asked, in lower case and without its port."""

    method: str
    path: str
    host: str


def parse_request(head: bytes) -> Request:
    """Request line and header fields, without the empty line at the end.

    Raises:
        BadRequest: it is not HTTP/1.0 or 1.1, has no host or more than one, or has a body.
    """
    try:
        first, *lines = head.decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise BadRequest("the request is not ASCII") from None
    line = _LINE.fullmatch(first)
    if line is None:
        raise BadRequest("not a request line of HTTP/1.0 or 1.1")
    fields: dict[str, list[str]] = {}
    for text in lines:
        entry = _FIELD.fullmatch(text)
        if entry is None:
            raise BadRequest("a header field cannot be read")
        fields.setdefault(entry[1].lower(), []).append(entry[2])
    if "transfer-encoding" in fields or fields.get("content-length", ["0"]) != ["0"]:
        raise BadRequest("a request here has no body")
    method, target, minor = line.groups()
    if not target.startswith("/"):
        raise BadRequest("the target is a path")
    hosts = fields.get("host", [])
    if len(hosts) > 1 or (minor == "1" and not hosts):
        raise BadRequest("exactly one Host is wanted")
    return Request(method=method, path=target.partition("?")[0], host=_name(hosts[0]) if hosts else "")


def _name(host: str) -> str:
    entry = _HOST.fullmatch(host)
    if entry is None:
        raise BadRequest("the Host is none")
    return plain_host(entry[1])


def plain_host(host: str) -> str:
    """A name or address without brackets and the final dot, in lower case; addresses in their one form."""
    name = host.strip("[]").lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


class Hosts:
    """The names that requests may call this endpoint by.

    ``localhost`` and its two addresses, the configured host, the address that was reached, and what the profile adds. A
    name of somebody else's that resolves to here is not one of them.
    """

    def __init__(self, configured: str, more: Iterable[str]) -> None:
        self._names = frozenset(LOCAL_NAMES) | {plain_host(name) for name in (configured, *more)}

    def allow(self, host: str, here: str) -> bool:
        """Whether ``host`` (as in ``Request``) may be asked; ``here`` is the address at which the request arrived."""
        # HTTP/1.0 has no Host; no browser speaks it any more.
        return not host or host in self._names or host.endswith(".localhost") or host == plain_host(here)


__all__ = ["BadRequest", "Hosts", "Request", "parse_request", "plain_host"]

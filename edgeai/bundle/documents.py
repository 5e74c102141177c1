"""What a bundle says of where it came from: its card, its evidence, its bill of materials, each read in bounds.

Every one of them is a file that the manifest names by hash; whoever reads it here has its bytes held to that hash.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeai.bundle.evidence import MAX_EVIDENCE_BYTES, Evidence, decode_evidence
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.reader import read_member

CARD_NAME: Final = "model.toml"
BOM_NAME: Final = "sbom.cdx.json"
MAX_CARD_BYTES: Final = 1024 * 1024
MAX_BOM_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Each ``None`` where the bundle has none, or where ``unread`` says why it cannot be read, by the file's name."""

    card: dict[str, Any] | None
    evidence: Evidence | None
    bom: dict[str, Any] | None
    unread: dict[str, str]

    @property
    def components(self) -> list[dict[str, Any]]:
        """Those of the bill of materials, its main one first."""
        if self.bom is None:
            return []
        main = self.bom.get("metadata", {}).get("component")
        return [item for item in (main, *self.bom.get("components", ())) if isinstance(item, dict)]


def documents_of(path: Path, manifest: Manifest) -> Documents:
    """Those of a bundle that lies at ``path``, as a file or as a folder.

    Raises:
        BundleRejected: ``bundle.wrong-hash``, ``bundle.too-large``, and as ``open_bundle``.
    """
    unread: dict[str, str] = {}

    def read(name: str | None, most: int, decode: Callable[[bytes], Any]) -> Any:
        data = read_member(path, manifest, name, most) if name else None
        if data is None or name is None:
            return None
        try:
            return decode(data)
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
            unread[name] = str(error)
            return None

    return Documents(
        card=read(CARD_NAME, MAX_CARD_BYTES, lambda data: tomllib.loads(data.decode())),
        evidence=read(manifest.evidence_path, MAX_EVIDENCE_BYTES, decode_evidence),
        bom=read(BOM_NAME, MAX_BOM_BYTES, _bill),
        unread=unread,
    )


def properties_of(component: dict[str, Any]) -> dict[str, str]:
    """A component's properties by name."""
    return {str(item.get("name")): str(item.get("value", "")) for item in tables(component.get("properties"))}


def tables(value: object) -> list[dict[str, Any]]:
    """The objects of a list; none where it is no list: what a stranger wrote may have any form."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _bill(data: bytes) -> dict[str, Any]:
    body = json.loads(data)
    if not isinstance(body, dict) or body.get("bomFormat") != "CycloneDX":
        raise ValueError("it is no CycloneDX bill of materials")
    if not isinstance(body.get("metadata", {}), dict) or not isinstance(body.get("components", []), list):
        raise ValueError("its metadata or components have another form than CycloneDX gives them")
    return body

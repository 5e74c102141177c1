"""The bill of materials of a fleet, CycloneDX 1.6: each cart, what runs on it, and what that was built from.

The bills that bundles carry are put together: a distribution of one name and version is one component, whatever made
use of it; models, artifacts and data stay their bundle's. The same statuses and bundles give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgeai.model.results import uuid_of
from edgeai_fleet.inventory import Cart, Deployed, deployed

_SHARED: Final = "pkg:"
"""Components with a package URL are the same wherever they stand."""

Bill = Mapping[str, Any]


def fleet_bom(name: str, carts: Sequence[Cart], bills: Mapping[str, Bill | None]) -> bytes:
    """The bill of these carts.

    Args:
        name: of the fleet.
        carts: what each says of itself.
        bills: digest of a bundle -> the bill that it carries; ``None``, or absent, where it is not at hand.
    """
    parts = _Parts()
    rows = deployed(carts)
    for digest in dict.fromkeys(each.digest for each in rows):
        parts.bundle([each for each in rows if each.digest == digest], bills.get(digest))
    for cart in carts:
        parts.cart(cart)
    devices = [_device(cart) for cart in carts]
    parts.depends("fleet", [device["bom-ref"] for device in devices])
    times = [cart.at for cart in carts if cart.at]
    metadata: dict[str, Any] = {
        "component": {"type": "platform", "bom-ref": "fleet", "name": name},
        "lifecycles": [{"phase": "operations"}],
    }
    if times:
        metadata["timestamp"] = max(times)
    body: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": [*devices, *sorted(parts.components.values(), key=lambda item: str(item["bom-ref"]))],
        "dependencies": parts.dependencies(),
    }
    named = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
    body["serialNumber"] = f"urn:uuid:{uuid_of(named)}"
    return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


class _Parts:
    """Components by reference, and what each depends on."""

    def __init__(self) -> None:
        self.components: dict[str, dict[str, Any]] = {}
        self._depends: dict[str, set[str]] = {}

    def bundle(self, rows: Sequence[Deployed], bill: Bill | None) -> None:
        """A bundle as one component, named by its digest, on what its own bill lists.

        Of ``rows`` each is of carts that name the same signers; what they name stays apart, most carts first.
        """
        deployed = rows[0]
        name, _, version = deployed.model.rpartition(" ")
        signers = [", ".join(each.signers) or "nobody" for each in rows] if len(rows) > 1 else deployed.signers
        carts = {cart for each in rows for cart in each.carts}
        known = {"edgeai:signers": ("; " if len(rows) > 1 else ", ").join(signers), "edgeai:carts": str(len(carts))}
        if bill is None:
            known["edgeai:bill"] = "not at hand"
        self.components[deployed.digest] = {
            "type": "machine-learning-model",
            "bom-ref": deployed.digest,
            "name": name or version or "unnamed",
            "version": version or "unknown",
            "hashes": [{"alg": "SHA-256", "content": deployed.digest.removeprefix("sha256:")}],
            "properties": _properties(known),
        }
        refs = self._merge(deployed.digest, bill) if bill is not None else []
        self.depends(deployed.digest, refs)

    def _merge(self, digest: str, bill: Bill) -> list[str]:
        """The components of a bundle's own bill; the references of those that are its own."""
        main = bill.get("metadata", {}).get("component")
        listed = [item for item in (main, *bill.get("components", ())) if isinstance(item, dict) and "bom-ref" in item]
        own = []
        for item in listed:
            ref = _ref(digest, str(item["bom-ref"]))
            before = self.components.get(ref)
            if before is None or (not before.get("licenses") and item.get("licenses")):
                self.components[ref] = _renamed(item, digest)
            if not ref.startswith(_SHARED):
                own.append(ref)
        for edge in bill.get("dependencies", ()):
            self.depends(_ref(digest, str(edge["ref"])), [_ref(digest, str(on)) for on in edge.get("dependsOn", ())])
        return own

    def cart(self, cart: Cart) -> None:
        """The runtime that a cart says it has, and what it runs."""
        on = [item.digest for item in cart.running if item.digest]
        if cart.edgeai:
            runtime = f"pkg:pypi/edgeai@{cart.edgeai}"
            self.components.setdefault(
                runtime,
                {"type": "library", "bom-ref": runtime, "name": "edgeai", "version": cart.edgeai, "purl": runtime},
            )
            on.append(runtime)
        self.depends(_device_ref(cart), on)

    def depends(self, ref: str, on: Sequence[str]) -> None:
        """One on others."""
        self._depends.setdefault(ref, set()).update(on)

    def dependencies(self) -> list[dict[str, Any]]:
        """As CycloneDX has them; an end that no component has is left out."""
        known = {*self.components, *self._depends}
        return [
            {"ref": ref, **({"dependsOn": sorted(on & known)} if on & known else {})}
            for ref, on in sorted(self._depends.items())
        ]


def _device(cart: Cart) -> dict[str, Any]:
    known = {"edgeai:site": cart.site, "edgeai:state": cart.state, "edgeai:machine": cart.machine, "edgeai:at": cart.at}
    for item in cart.running:
        engine = " ".join(filter(None, (item.backend, item.on, item.artifact)))
        known[f"edgeai:deployment:{item.deployment}"] = " ".join(filter(None, (item.model, engine, item.state)))
    return {
        "type": "device",
        "bom-ref": _device_ref(cart),
        "name": cart.device_id or "unnamed",
        "properties": _properties(known),
    }


def _device_ref(cart: Cart) -> str:
    return f"device:{cart.name}"


def _renamed(item: dict[str, Any], digest: str) -> dict[str, Any]:
    """A component of a bundle's bill, its references made its bundle's own: also those of the data in a model card."""
    return dict(_each(item, digest))


def _each(node: dict[str, Any], digest: str) -> list[tuple[str, Any]]:
    def changed(key: str, value: Any) -> Any:
        if key in ("bom-ref", "ref") and isinstance(value, str):
            return _ref(digest, value)
        if isinstance(value, dict):
            return dict(_each(value, digest))
        if isinstance(value, list):
            return [dict(_each(item, digest)) if isinstance(item, dict) else item for item in value]
        return value

    return [(key, changed(key, value)) for key, value in node.items()]


def _ref(digest: str, ref: str) -> str:
    return ref if ref.startswith(_SHARED) else f"{digest}/{ref}"


def _properties(known: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in known.items() if value]

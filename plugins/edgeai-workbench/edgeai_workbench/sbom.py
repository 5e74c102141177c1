"""``sbom.cdx.json``: what a bundle was built from, as a CycloneDX 1.6 bill of materials.

The model with its Keras file's digest, the artifacts and what each was converted by, the data with its licences, and
every distribution that took part. It is made of the card and of the artifacts' notes alone: no clock, no random
number and nothing of the machine that packs, so that the same folder gives the same bytes anywhere.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from edgeai.bundle.evidence import Evidence
from edgeai_workbench.card import Card, Data
from edgeai_workbench.convert import Artifact
from edgeai_workbench.libraries import needed
from edgeai_workbench.model_card import artifact_ref, data_ref, model_cards, model_ref
from edgeai_workbench.standing import PREFIX, Standing
from edgeai_workbench.tools import UNKNOWN, Tool

SBOM_NAME = "sbom.cdx.json"
LICENCE_NAME = "LICENSE"
_OURS = "Apache-2.0"
"""The licence whose text is at hand wherever edgeai is installed, because it is edgeai's own."""


def sbom_of(
    card: Card, artifacts: Sequence[Artifact], evidence: Evidence | None = None, standing: Standing | None = None
) -> bytes:
    """The bill of materials of a bundle of these artifacts, with a model card for the model and each of them.

    ``standing`` is the model that stands before it.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    parts = _Parts()
    model = parts.model(card)
    data = [parts.data(item) for item in card.data]
    environment = sorted(card.training.environment.items())
    trained = [parts.library(name, Tool(version=version, licence=UNKNOWN)) for name, version in environment]
    bom = needed("cyclonedx.model.bom").Bom(serial_number=uuid.UUID(int=0))
    bom.metadata.component = model
    made = []
    for artifact in artifacts:
        component = parts.artifact(card, artifact)
        tools = [parts.library(name, tool) for name, tool in artifact.tools.items()] or [parts.converter(artifact)]
        bom.register_dependency(component, [model, *tools])
        made.append(component)
    bom.register_dependency(model, [*data, *trained])
    others = [parts.standing(standing)] if standing is not None else []
    for component in [*made, *others, *data, *parts.libraries()]:
        bom.components.add(component)
    # Without evidence there is none: what was packed before there was any keeps its bytes, and so its digest.
    cards = model_cards(card, [artifact.id for artifact in artifacts], evidence) if evidence is not None else {}
    return _written(bom, cards)


def licence_text(card: Card, folder: Path) -> bytes | None:
    """The text of the model's licence: the folder's ``LICENSE``, else Apache's from edgeai's own installation."""
    own = folder / LICENCE_NAME
    if own.is_file():
        return own.read_bytes()
    if card.licence != _OURS:
        return None
    try:
        text = distribution("edgeai").read_text(f"licenses/{LICENCE_NAME}")
    except PackageNotFoundError:
        return None
    return text.encode() if text else None


class _Parts:
    """Components, of which each distribution and version is one however many artifacts used it."""

    def __init__(self) -> None:
        self._component = needed("cyclonedx.model.component")
        self._model = needed("cyclonedx.model")
        self._licences = needed("cyclonedx.contrib.license.factories").LicenseFactory()
        self._libraries: dict[str, Any] = {}

    def model(self, card: Card) -> Any:
        return self._component.Component(
            type=self._component.ComponentType.MACHINE_LEARNING_MODEL,
            name=card.name,
            version=card.version,
            description=card.intended_use,
            licenses=[self._licence(card.licence)],
            hashes=[self._hash(card.model_digest)],
            bom_ref=model_ref(card),
            properties=self._properties({"edgeai:model": card.model, "edgeai:release": str(card.release)}),
        )

    def artifact(self, card: Card, artifact: Artifact) -> Any:
        return self._component.Component(
            type=self._component.ComponentType.MACHINE_LEARNING_MODEL,
            name=f"{card.name}/{artifact.id}",
            version=card.version,
            licenses=[self._licence(card.licence)],
            bom_ref=artifact_ref(artifact.id),
            properties=self._properties(
                {
                    "edgeai:format": artifact.format,
                    "edgeai:precision": artifact.precision,
                    "edgeai:path": f"artifacts/{artifact.id}/{artifact.path}",
                    "edgeai:keras": artifact.parent,
                    "edgeai:converter": artifact.converter,
                }
            ),
        )

    def standing(self, standing: Standing) -> Any:
        manifest = standing.bundle.manifest
        properties = {"edgeai:guard": standing.bundle.digest, "edgeai:path": PREFIX.rstrip("/")}
        return self._component.Component(
            type=self._component.ComponentType.MACHINE_LEARNING_MODEL,
            name=manifest.name,
            version=manifest.version,
            description=manifest.intended_use,
            licenses=[self._licence(manifest.licence)],
            bom_ref=f"guard:{manifest.name}",
            properties=self._properties(properties),
        )

    def data(self, item: Data) -> Any:
        properties = {"edgeai:use": item.use, "edgeai:digest": item.digest or ""}
        return self._component.Component(
            type=self._component.ComponentType.DATA,
            name=item.name,
            description=item.source,
            licenses=[self._licence(item.licence)],
            bom_ref=data_ref(item),
            properties=self._properties(properties),
        )

    def converter(self, artifact: Artifact) -> Any:
        """Of an artifact that was made before its tools were recorded: the converter is known, and no more."""
        name, _, version = artifact.converter.partition(" ")
        return self.library(name, Tool(version=version, licence=UNKNOWN))

    def library(self, name: str, tool: Tool) -> Any:
        """Scope ``excluded``: it made the bundle and is not in it."""
        ref = f"pkg:pypi/{name}@{tool.version}"
        known = self._libraries.get(ref)
        if known is None or (not known.licenses and tool.licence != UNKNOWN):
            self._libraries[ref] = self._component.Component(
                type=self._component.ComponentType.LIBRARY,
                name=name,
                version=tool.version,
                purl=needed("packageurl").PackageURL("pypi", None, name, tool.version),
                scope=self._component.ComponentScope.EXCLUDED,
                licenses=[] if tool.licence == UNKNOWN else [self._licence(tool.licence)],
                bom_ref=ref,
            )
        return self._libraries[ref]

    def libraries(self) -> Iterable[Any]:
        return self._libraries.values()

    def _licence(self, words: str) -> Any:
        return self._licences.make_from_string(words)

    def _hash(self, digest: str) -> Any:
        return self._model.HashType(alg=self._model.HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))

    def _properties(self, values: dict[str, str]) -> list[Any]:
        return [self._model.Property(name=name, value=value) for name, value in values.items() if value]


def _written(bom: Any, cards: Mapping[str, dict[str, Any]]) -> bytes:
    """As JSON, without the clock's time, and with a serial number that is derived from all the rest.

    The library knows no model cards; they are put into what it writes, and a test holds that to the standard's schema.
    """
    output = needed("cyclonedx.output")
    schema = needed("cyclonedx.schema")
    text = output.make_outputter(bom, schema.OutputFormat.JSON, schema.SchemaVersion.V1_6).output_as_string()
    body: dict[str, Any] = json.loads(text)
    del body["serialNumber"]
    body["metadata"].pop("timestamp", None)
    for component in (body["metadata"]["component"], *body.get("components", ())):
        if component["bom-ref"] in cards:
            component["modelCard"] = cards[component["bom-ref"]]
    bits = int.from_bytes(hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()[:16])
    bits = bits & ~(0xF << 76) | (8 << 76)  # RFC 9562 section 5.8: version 8, its bits our own
    bits = bits & ~(0x3 << 62) | (2 << 62)
    body["serialNumber"] = uuid.UUID(int=bits).urn
    return (json.dumps(body, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n").encode()

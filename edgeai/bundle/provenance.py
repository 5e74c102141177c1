"""From a bundle back to what it was made of: card, evidence, data, build environment, each link recomputed.

A signature covers the manifest, and the manifest every document by its hash. What is asked here is whether these
documents speak of one another: the card of this model, the evidence of this card's Keras file and of these artifacts,
the bill of materials of the same. Pure; ``documents`` reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, Literal, TypeAlias

from edgeai.bundle.documents import BOM_NAME, CARD_NAME, Documents, properties_of, tables
from edgeai.bundle.manifest import ArtifactDecl, Manifest

State: TypeAlias = Literal["holds", "missing", "broken"]
"""``missing``: nobody says it, or it is not at hand, so that nothing could be compared."""

_SAME: Final = ("name", "version", "release", "intended_use", "licence")
"""Keys that the card and the manifest both have, and that are one."""
_UNSAID: Final[dict[str, Any]] = {"release": 0}
_FOLDER: Final = "artifacts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One step of the way back: what was compared, and what came of it.

    ``code`` says why it is broken; ``lacks`` names what is not there; ``facts`` are what it leads to; ``fields`` are
    those of the result that were held to something (``model.digest``).
    """

    name: str
    says: str
    code: str = ""
    lacks: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    fields: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """Broken before missing: a contradiction is more than a gap."""
        return "broken" if self.code else "missing" if self.lacks else "holds"


def links_of(manifest: Manifest, documents: Documents) -> tuple[Link, ...]:
    """Card, evidence, data and build of a bundle whose files were held to its manifest."""
    return (
        card_link(manifest, documents),
        evidence_link(manifest, documents),
        data_link(documents),
        build_link(manifest, documents),
    )


def card_link(manifest: Manifest, documents: Documents) -> Link:
    """The card is of this very model, in the words of the manifest."""
    card = documents.card
    if card is None:
        return _absent("card", CARD_NAME, documents, code="trace.card")
    others = [key for key in _SAME if card.get(key, _UNSAID.get(key)) != getattr(manifest, key)]
    if others:
        return Link(name="card", says=f"its {', '.join(others)} is not the manifest's", code="trace.card")
    keras = card.get("model_digest")
    facts = {"file": CARD_NAME, "model_digest": keras}
    if not keras:
        return Link(name="card", says="it is of this model", lacks=("digest of the Keras file",), facts=facts)
    return Link(name="card", says=f"it is of this model, made from {keras}", facts=facts)


def evidence_link(manifest: Manifest, documents: Documents) -> Link:
    """The evidence is of this model, of the card's Keras file, and of the artifacts that the bundle ships."""
    evidence = documents.evidence
    if evidence is None:
        return _absent("evidence", manifest.evidence_path or "evidence.json", documents, code="trace.evidence")
    contradictions = list(_contradictions(manifest, documents))
    measured = {model.id: model for trial in evidence.trials for model in trial.models}
    unmeasured = [item.id for item in manifest.artifacts if not measured.get(item.id)]
    facts = {
        "file": manifest.evidence_path,
        "trials": [
            {"split": trial.split, "role": trial.role, "samples": trial.samples, "data": trial.data}
            for trial in evidence.trials
        ],
        "openings": len(evidence.openings),
    }
    if contradictions:
        return Link(name="evidence", says="; ".join(contradictions), code="trace.evidence", facts=facts)
    splits = ", ".join(f"{trial.split} ({trial.role}, {trial.samples} samples)" for trial in evidence.trials)
    return Link(
        name="evidence",
        says=f"it is of these artifacts: {splits or 'no trial'}",
        lacks=tuple(f"figures of artifact {each}" for each in unmeasured),
        facts=facts,
    )


def data_link(documents: Documents) -> Link:
    """Which data, by digest: the card and the bill of materials say the same, and the evidence which splits it saw."""
    if documents.card is None:
        return Link(name="data", says="no card says which", lacks=("names and digests of the data",))
    stated = {str(item.get("name")): item.get("digest") for item in tables(documents.card.get("data"))}
    listed = {
        str(item.get("name")): properties_of(item).get("edgeai:digest") or None
        for item in documents.components
        if item.get("type") == "data"
    }
    looked_at = {trial.split: trial.data for trial in (documents.evidence.trials if documents.evidence else ())}
    facts = {"data": stated, "splits": looked_at}
    if documents.bom is not None and stated != listed:
        others = sorted(name for name in {*stated, *listed} if stated.get(name, "") != listed.get(name, ""))
        says = f"card and bill of materials speak of other data: {', '.join(others)}"
        return Link(name="data", says=says, code="trace.data", facts=facts)
    lacks = tuple(f"digest of {name}" for name, digest in stated.items() if not digest)
    if not stated:
        lacks = ("names and digests of the data",)
    says = ", ".join(f"{name} {digest}" for name, digest in stated.items() if digest)
    return Link(name="data", says=says or "no digest of any data", lacks=lacks, facts=facts)


def build_link(manifest: Manifest, documents: Documents) -> Link:
    """What made the artifacts: the bill of materials is of this model, this Keras file and these paths."""
    if documents.bom is None:
        return _absent("build", BOM_NAME, documents, code="trace.build")
    made = {
        properties_of(item)["edgeai:path"]: properties_of(item)
        for item in documents.components
        if "edgeai:path" in properties_of(item)
    }
    libraries = [item for item in documents.components if item.get("type") == "library"]
    trained = (documents.card or {}).get("training")
    environment = trained.get("environment") if isinstance(trained, dict) else None
    facts = {
        "artifacts": {
            item.id: {"converter": known.get("edgeai:converter"), "keras": known.get("edgeai:keras")}
            for item in manifest.artifacts
            if (known := made.get(item.path)) is not None
        },
        "distributions": {str(item.get("name")): str(item.get("version")) for item in libraries},
        "training": environment if isinstance(environment, dict) else {},
    }
    if contradictions := list(_unlike(manifest, documents, made)):
        return Link(name="build", says="; ".join(contradictions), code="trace.build", facts=facts)
    lacks = [f"what artifact {item.id} was made by" for item in manifest.artifacts if item.path not in made]
    if not facts["training"]:
        lacks.append("training environment")
    tools = sorted({str(known.get("edgeai:converter")) for known in made.values()})
    says = (
        f"made by {', '.join(tools) or 'nothing that is named'}, with {len(libraries)} distributions named by version"
    )
    return Link(name="build", says=says, lacks=tuple(lacks), facts=facts)


def artifact_digest(manifest: Manifest, artifact: ArtifactDecl) -> str:
    """The digest that evidence has of an artifact, of its files' hashes: names and contents of all that is its own."""
    folder = PurePosixPath(_FOLDER, artifact.id)
    own = [PurePosixPath(name) for name in manifest.files if PurePosixPath(name).is_relative_to(folder)]
    total = hashlib.sha256()
    for path in sorted(own):
        content = bytes.fromhex(manifest.files[str(path)].sha256)
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return f"sha256:{total.hexdigest()}"


def _contradictions(manifest: Manifest, documents: Documents) -> Iterator[str]:
    evidence = documents.evidence
    assert evidence is not None
    if (evidence.model, evidence.version) != (manifest.name, manifest.version):
        yield f"it is of {evidence.model} {evidence.version}"
    keras = (documents.card or {}).get("model_digest")
    if keras and evidence.digest != keras:
        yield "it is of another Keras file than the card's"
    for artifact in manifest.artifacts:
        held = {
            model.digest
            for trial in evidence.trials
            for model in trial.models
            if model.id == artifact.id and model.digest
        }
        if held and held != {artifact_digest(manifest, artifact)}:
            yield f"its figures of {artifact.id} are of another artifact"


def _unlike(manifest: Manifest, documents: Documents, made: dict[str, dict[str, str]]) -> Iterator[str]:
    main = documents.components[0] if documents.components else {}
    if (main.get("name"), main.get("version")) != (manifest.name, manifest.version):
        yield f"the bill of materials is of {main.get('name')} {main.get('version')}"
    keras = (documents.card or {}).get("model_digest")
    hashes = {f"sha256:{item.get('content')}" for item in tables(main.get("hashes")) if item.get("alg") == "SHA-256"}
    if keras and hashes and hashes != {keras}:
        yield "it is of another Keras file than the card's"
    if documents.evidence is None:
        return  # then nobody says which Keras files the variants are
    known = {keras, *(model.digest for trial in documents.evidence.trials for model in trial.models)}
    for artifact in manifest.artifacts:
        source = made.get(artifact.path, {}).get("edgeai:keras")
        if source and source not in known:
            yield f"{artifact.id} was made from {source}, which the evidence does not know"


def _absent(name: str, file: str, documents: Documents, *, code: str) -> Link:
    """A document that is not there is missing; one that cannot be read is broken."""
    if file in documents.unread:
        return Link(name=name, says=f"{file} cannot be read: {documents.unread[file]}", code=code)
    return Link(name=name, says=f"the bundle has no {file}", lacks=(file,))

"""The links of a result to its bundle: its id, the model, the engine, who signed; each recomputed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeai.bundle.provenance import Link

if TYPE_CHECKING:
    from edgeai.api.results import Result
    from edgeai.bundle.keys import PublicKey
    from edgeai.bundle.manifest import Manifest
    from edgeai.bundle.reader import Verified

_AGREEMENT: Final = "agreement"
"""The kind of a finding whose label is an attribute of the header, and none of the model's."""
NO_KEYS = "public keys to hold the signatures to"


def result_link(result: Result) -> Link:
    """Its id is derived from the image, the bundle and the deployment: whoever changed one of them is seen."""
    from edgeai.model.results import derived_ids

    facts = {"result_id": result.result_id, "outcome": str(result.outcome), "created_at": result.created_at}
    derived = derived_ids(result)
    if not derived:
        return Link(name="result", says="its image has no UID, so that its id cannot be derived again", lacks=("UID",))
    if result.result_id in derived:
        return Link(name="result", says="its id is that of this image, bundle and deployment", facts=facts)
    if result.attempt > 1:  # what is done again keeps the first id, also under another bundle
        says = f"attempt {result.attempt}: its id was derived from what judged the first one"
        return Link(name="result", says=says, lacks=("the first attempt's bundle",), facts=facts)
    return Link(
        name="result",
        says="its id is not that of this image, bundle and deployment: one of them was changed",
        code="trace.result-id",
        facts=facts,
    )


def bundle_link(result: Result, verified: Verified, path: Path | None) -> Link:
    """Every byte is what the manifest says, and the manifest is the one that the result names."""
    manifest, facts = verified.manifest, {"path": str(path or "a repository"), "digest": verified.digest}
    if (result.model.name, result.model.version) != (manifest.name, manifest.version):
        says = (
            f"the result calls it {result.model.name} {result.model.version}, it is {manifest.name} {manifest.version}"
        )
        return Link(name="bundle", says=says, code="trace.other-bundle", facts=facts)
    return Link(
        name="bundle",
        says=f"{manifest.name} {manifest.version}, {len(manifest.files)} files are what the manifest says",
        lacks=tuple(f"artifact {each}, not fetched" for each in verified.absent),
        facts=facts,
    )


def engine_link(result: Result, verified: Verified) -> Link:
    """The artifact that computed it is one of the bundle's."""
    engine = result.engine
    if engine is None:
        return Link(name="engine", says=f"no engine: the result is {result.outcome}")
    facts = {"backend": engine.backend, "engine": engine.engine, "device": engine.device, "artifact": engine.artifact}
    declared = next((item for item in verified.manifest.artifacts if item.id == engine.artifact), None)
    if declared is None or declared.precision != engine.precision:
        says = f"the bundle has no artifact {engine.artifact} in {engine.precision}"
        return Link(name="engine", says=says, code="trace.artifact", facts=facts)
    lacks = (f"artifact {engine.artifact}, not fetched",) if engine.artifact in verified.absent else ()
    says = f"{engine.artifact} on {engine.engine}, {engine.device}"
    return Link(name="engine", says=says, lacks=lacks, facts=facts)


def findings_link(result: Result, manifest: Manifest) -> Link:
    """Labels and their codes are the manifest's. What the image decides, a replay asks."""
    declared: dict[str, dict[str, Any]] = {}
    for label, table in _labels(manifest.task.options):
        declared.setdefault(label, {}).update(table)
    others, lacks = [], []
    stated = [item for item in result.findings if item.kind != _AGREEMENT]
    for item in stated:
        code, own = asdict(item.concept) if item.concept else None, declared.get(item.label, {}).get("concept")
        if declared and item.label not in declared:
            others.append(f"{item.label} is none of its labels ({', '.join(declared)})")
        elif code and own and code != own:
            others.append(f"{item.label} has the code {_code(code)}, in the manifest it has {_code(own)}")
        elif code != own:
            lacks.append(f"the code of {item.label} in the {'result' if own else 'manifest'}")
    if others:
        return Link(name="findings", says="; ".join(dict.fromkeys(others)), code="trace.findings")
    says = f"{len(stated)}, with labels and codes of the manifest" if stated else "none"
    return Link(name="findings", says=says, lacks=tuple(dict.fromkeys(lacks)))


def _labels(options: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The labels that a task's options name, with what is said of each: a word of ``labels``, or a table anywhere."""
    if isinstance(options, Mapping):
        if isinstance(options.get("label"), str):
            yield options["label"], dict(options)
        words = options.get("labels")
        yield from ((word, {}) for word in (words if isinstance(words, list) else ()) if isinstance(word, str))
    for value in options.values() if isinstance(options, Mapping) else options if isinstance(options, list) else ():
        yield from _labels(value)


def _code(concept: Mapping[str, Any]) -> str:
    return f"{concept.get('scheme')} {concept.get('code')} ({concept.get('meaning')})"


def signers_link(result: Result, verified: Verified, keys: Sequence[PublicKey]) -> Link:
    """Each key that the result names has signed this manifest."""
    from edgeai.bundle.trust import SHORT, check_signatures

    claimed = {item.key_id: item.name for item in result.model.signers}
    checks = check_signatures(verified.envelope, verified.manifest_bytes, keys) if verified.envelope else ()
    seen = {item.key_id: item.verdict for item in checks}
    facts = {"claimed": claimed, "signatures": seen}
    if bad := [str(item) for item in checks if item.verdict == "bad"]:
        says = f"a signature is not what its key would have written: {', '.join(bad)}"
        return Link(name="signers", says=says, code="bundle.bad-signature", facts=facts)
    if unsigned := [f"{name} ({key_id[:SHORT]})" for key_id, name in claimed.items() if key_id not in seen]:
        says = f"the result names {', '.join(unsigned)}, and this bundle bears no such signature"
        return Link(name="signers", says=says, code="trace.signers", facts=facts)
    unknown = [key_id for key_id, verdict in seen.items() if verdict == "unknown"]
    lacks = tuple(f"public key {key_id[:SHORT]}" for key_id in unknown) if keys else (NO_KEYS,) if unknown else ()
    if not claimed:
        lacks = (*lacks, "a signer: the device asked for none")
    known = ", ".join(str(item) for item in checks if item.key is not None)
    named = ", ".join(claimed.values()) or "nobody"
    return Link(name="signers", says=known or f"the result names {named}", lacks=lacks, facts=facts)

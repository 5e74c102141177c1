"""The links of a result to its bundle: its id, the model, the engine, who signed; each recomputed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from edgeai.bundle.provenance import Link

if TYPE_CHECKING:
    from edgeai.api.results import EngineRef, Finding, Result
    from edgeai.bundle.evidence import Evidence
    from edgeai.bundle.keys import PublicKey
    from edgeai.bundle.manifest import ArtifactDecl, Manifest
    from edgeai.bundle.reader import Verified

_AGREEMENT: Final = "agreement"
"""The kind of a finding whose label is an attribute of the header, and none of the model's."""
_Declared: TypeAlias = Mapping[str, Mapping[str, Any]]
"""What a manifest says of each of its labels."""
_IDENTITY: Final = ("deployment", "model.digest", "instance.sop_instance_uid")
NO_KEYS = "public keys to hold the signatures to"


def result_link(result: Result) -> Link:
    """Its id is derived from the image, the bundle and the deployment: whoever changed one of them is seen."""
    from edgeai.model.results import derived_ids

    facts = {"result_id": result.result_id, "outcome": str(result.outcome), "created_at": result.created_at}
    derived = derived_ids(result)
    if not derived:
        return Link(name="result", says="its image has no UID, so that its id cannot be derived again", lacks=("UID",))
    if result.result_id in derived:
        lacks: tuple[str, ...] = ()
        fields: tuple[str, ...] = ("result_id", *_IDENTITY, "instance.content")
        if result.instance.content and result.result_id != derived[0]:  # of an image that edgeai 0.1 received
            fields, lacks = fields[:-1], ("the hash of its image in its id",)
        says = "its id is that of this image, bundle and deployment"
        return Link(name="result", says=says, lacks=lacks, facts=facts, fields=fields)
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
        fields=("model.name", "model.version", "model.digest"),
    )


def engine_link(result: Result, verified: Verified, evidence: Evidence | None) -> Link:
    """The artifact that computed it is one of the bundle's, and its backend one that reads it."""
    engine = result.engine
    if engine is None:
        return Link(name="engine", says=f"no engine: the result is {result.outcome}")
    facts = {"backend": engine.backend, "engine": engine.engine, "device": engine.device, "artifact": engine.artifact}
    declared = next((item for item in verified.manifest.artifacts if item.id == engine.artifact), None)
    if declared is None or declared.precision != engine.precision:
        says = f"the bundle has no artifact {engine.artifact} in {engine.precision}"
        return Link(name="engine", says=says, code="trace.artifact", facts=facts)
    reads = _reads(engine, declared, evidence)
    if reads is False:
        says = f"{engine.backend} does not read {declared.format}, which {engine.artifact} is in"
        return Link(name="engine", says=says, code="trace.artifact", facts=facts)
    lacks = (f"artifact {engine.artifact}, not fetched",) if engine.artifact in verified.absent else ()
    if reads is None:
        lacks = (*lacks, f"figures of {engine.artifact} on {engine.backend}, which is not installed here either")
    fields = ("engine.artifact", "engine.precision", *(("engine.backend",) if reads else ()))
    says = f"{engine.artifact} on {engine.engine}, {engine.device}"
    return Link(name="engine", says=says, lacks=lacks, facts=facts, fields=fields)


def _reads(engine: EngineRef, artifact: ArtifactDecl, evidence: Evidence | None) -> bool | None:
    """Whether its backend opens this artifact: evidence has it, or the plugin installed here says so; else ``None``."""
    from edgeai.api.errors import EdgeaiError
    from edgeai.plugins import find, load

    trials = evidence.trials if evidence is not None else ()
    if engine.backend in {model.backend for trial in trials for model in trial.models if model.id == artifact.id}:
        return True
    owner = next((info for info in find() if engine.backend in info.backends), None)
    try:
        specs = load(owner.name).backends if owner is not None else ()
    except EdgeaiError:
        return None
    return next((spec.artifact_format == artifact.format for spec in specs if spec.name == engine.backend), None)


def requires_links(result: Result) -> Iterator[Link]:
    """What other deployments said of the image where the cart's profile required it: their results say it again."""
    from edgeai.model.again import OF_OTHERS

    for figure in result.guard:
        if figure.check != OF_OTHERS:
            continue
        deployment, _, finding = figure.name.partition(" ")
        bound = "" if figure.threshold is None else f", {figure.threshold:g} or more is required"
        kept = "so that the model was not asked" if figure.withheld else "as the cart's profile requires"
        says = f"{deployment} said {figure.value:.3g} of {finding}{bound}: {kept}"
        facts = {"deployment": deployment, "finding": finding, "value": figure.value, "threshold": figure.threshold}
        yield Link(name="requires", says=says, lacks=(f"the result of {deployment}",), facts=facts)


def findings_link(result: Result, manifest: Manifest) -> Link:
    """Labels, their codes and their own thresholds are the manifest's. What the image decides, a replay asks."""
    declared: dict[str, dict[str, Any]] = {}
    for label, table in _labels(manifest.task.options):
        declared.setdefault(label, {}).update(table)
    stated = [item for item in result.findings if item.kind != _AGREEMENT]
    others: list[str] = []
    lacks: list[str] = []
    for item in stated:
        _hold_code(item, declared, others, lacks)
        _hold_threshold(item, declared, others, lacks)
    if others:
        return Link(name="findings", says="; ".join(dict.fromkeys(others)), code="trace.findings")
    says = f"{len(stated)}, with labels and codes of the manifest" if stated else "none"
    fields: list[str] = []
    if declared and len(stated) == len(result.findings):
        fields += ["findings.label", "findings.concept"]
        bounds = [declared.get(item.label, {}).get("threshold") for item in stated]
        fields += ["findings.threshold"] * (bounds == [item.threshold for item in stated])
    return Link(name="findings", says=says, lacks=tuple(dict.fromkeys(lacks)), fields=tuple(fields))


def _hold_code(finding: Finding, declared: _Declared, others: list[str], lacks: list[str]) -> None:
    label, code = finding.label, asdict(finding.concept) if finding.concept else None
    own = declared.get(label, {}).get("concept")
    if declared and label not in declared:
        others.append(f"{label} is none of its labels ({', '.join(declared)})")
    elif code and own and code != own:
        others.append(f"{label} has the code {_code(code)}, in the manifest it has {_code(own)}")
    elif code != own:
        lacks.append(f"the code of {label} in the {'result' if own else 'manifest'}")


def _hold_threshold(finding: Finding, declared: _Declared, others: list[str], lacks: list[str]) -> None:
    """To the label's own in the manifest; where that has none the task has, which a replay asks."""
    label, bound = finding.label, declared.get(finding.label, {}).get("threshold")
    if bound is None or bound == finding.threshold:
        return
    if finding.frame_number is not None or finding.region is not None:
        others.append(f"{label} was decided by the threshold {finding.threshold}, in the manifest it is {bound}")
    else:  # a task may sum up several frames by another
        lacks.append(f"whether {label} was decided by {finding.threshold}: in the manifest it is {bound} a frame")


def _labels(options: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The labels that a task's options name, with what is said of each: a word of ``labels``, or a table anywhere."""
    if isinstance(options, Mapping):
        if isinstance(options.get("label"), str):
            yield options["label"], dict(options)
        bounds = options.get("thresholds")
        own = bounds.items() if isinstance(bounds, Mapping) else ()
        yield from ((label, {"threshold": bound}) for label, bound in own if isinstance(label, str))
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
    says, fields = known or f"the result names {named}", ("model.signers.key_id",)
    return Link(name="signers", says=says, lacks=lacks, facts=facts, fields=fields)

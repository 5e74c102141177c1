"""``edgeai inspect BUNDLE``: what a bundle says of itself, after every byte of it was checked."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.cli import output
from edgeai.cli.verify import TRUST_HELP

if TYPE_CHECKING:
    from edgeai.bundle.evidence import Estimate
    from edgeai.bundle.manifest import Manifest, TensorDecl
    from edgeai.bundle.reader import Verified
    from edgeai.bundle.trust import SignatureCheck
    from edgeai.bundle.uses import GuardUse


def command(
    bundle: Annotated[Path, typer.Argument(help="A .edgeai file, or the folder of an unpacked bundle.")],
    trust: Annotated[list[Path] | None, typer.Option(help=TRUST_HELP, exists=True, metavar="DIR|FILE")] = None,
    as_json: Annotated[bool, output.option("Manifest, digest and evidence as JSON, whole.")] = False,
) -> None:
    """Verify a bundle and print its manifest, and in short what was measured of it. Nothing is unpacked, no plugin and
    no engine is loaded.

    With --trust its signatures are held to these keys and shown with what each key is bound to; whether they are
    enough, `edgeai verify` says.
    """
    from edgeai.bundle.evidence import MAX_EVIDENCE_BYTES
    from edgeai.bundle.manifest import encode_manifest
    from edgeai.bundle.probation import MAX_PROBATION_BYTES, PROBATION_NAME
    from edgeai.bundle.reader import read_member, verify_bundle

    verified = verify_bundle(bundle)
    path = verified.manifest.evidence_path
    evidence = read_member(bundle, verified.manifest, path, MAX_EVIDENCE_BYTES) if path else None
    probation = read_member(bundle, verified.manifest, PROBATION_NAME, MAX_PROBATION_BYTES)
    key_ids = [item.keyid for item in verified.envelope.signatures] if verified.envelope else []
    if as_json:
        manifest = json.loads(encode_manifest(verified.manifest))
        body = {"digest": verified.digest, "key_ids": key_ids, "manifest": manifest, "evidence": _plain(evidence)}
        body["probation"] = _plain(probation)
        if verified.absent:
            body["not_fetched"] = list(verified.absent)
        output.put(json.dumps(body, indent=2))
        return
    signed = [f"by {key_id}; not checked here, `edgeai verify` does" for key_id in key_ids]
    signatures = _by_keys(verified, trust) if trust else signed
    table = rows(verified.manifest, verified.digest, signatures, verified.absent)
    _print([*table, *_bounds(verified.manifest, probation), *_listed("measured", measured(evidence))])


def _by_keys(verified: Verified, trust: list[Path]) -> list[str]:
    """A sentence a signature, held to these keys."""
    from edgeai.bundle.keys import read_keys
    from edgeai.bundle.trust import check_signatures

    keys = read_keys(trust)
    checks = check_signatures(verified.envelope, verified.manifest_bytes, keys) if verified.envelope else ()
    return [_says(item, verified.manifest.name) for item in checks]


def _says(item: SignatureCheck, model: str) -> str:
    if item.key is None:
        return f"by {item.key_id}, which is none of these keys"
    bounds = item.key.bounds
    verdict = {
        "good": f"good, {bounds}",
        "expired": f"good, but its trust ended on {bounds.ends}",
        "elsewhere": f"good, but its key is trusted {bounds}",
    }.get(item.of(model), "BAD: this key did not write it")
    return f"by {item.key.name}: {verdict} ({item.key_id})"


def _plain(evidence: bytes | None) -> Any:
    """Whatever it holds, of any schema; ``None`` where there is none, or no JSON."""
    try:
        return None if evidence is None else json.loads(evidence)
    except (ValueError, RecursionError):
        return None


def _bounds(manifest: Manifest, data: bytes | None) -> Iterator[tuple[str, str]]:
    """What it asks of itself on probation; nothing where it leaves that to the profile."""
    from edgeai.api.errors import BundleRejected
    from edgeai.bundle.probation import decode_bounds

    if data is None:
        return
    try:
        yield "probation", _options(decode_bounds(data, f"{manifest.name} {manifest.version}").told())
    except BundleRejected as error:
        yield "probation", f"not read here: {error}"


def measured(evidence: bytes | None) -> list[str]:
    """What was measured of each artifact, on the split that counts most; and how often that was looked at."""
    from edgeai.bundle.evidence import decode_evidence

    if evidence is None:
        return ["none in the bundle"]
    try:
        read = decode_evidence(evidence)
    except ValueError as error:
        return [f"not read here: {error}"]
    if not read.trials:
        return ["nothing was measured"]
    trial = read.trials[-1]
    role = {"chose": "which chose too", "confirmed": "which confirmed", "judged": "which judged"}[trial.role]
    lines = [f"{trial.split}, {role}: {trial.samples} samples"]
    for model in trial.models:
        if model.ship or model.id == trial.models[0].id:
            held = sum(verdict.holds for verdict in model.verdicts)
            gates = f"; {held} of {len(model.verdicts)} gates hold" if model.verdicts else ""
            lines.append(f"{model.id}: {_figure(trial.main, model.figures.get(trial.main))}{gates}")
    looks = [look for look in read.openings if look.data == trial.data]
    if looks:
        lines.append(f"opened {looks[-1].date}, {looks[-1].before} times before")
    return lines


def _figure(name: str, figure: Estimate | None) -> str:
    if figure is None or figure.value is None:
        return "no figure"
    unit = f" {figure.unit}" if figure.unit else ""
    ends = "" if figure.low is None or figure.high is None else f" ({figure.low:.4f} to {figure.high:.4f})"
    return f"{name} {figure.value:.4f}{ends}{unit}"


def _print(lines: Iterable[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, Text(value))
    Console().print(table)


def rows(manifest: Manifest, digest: str, signed: list[str], absent: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """What the table holds, line by line; a name only on its first line."""
    yield "name", f"{manifest.name} {manifest.version} (release {manifest.release})"
    yield "digest", digest
    files = "all that is held" if absent else f"{len(manifest.files)} files"
    yield "verified", f"{files} {'is' if absent else 'are'} what the manifest says"
    yield from _listed("signatures", signed or ["not signed"])
    yield "intended use", manifest.intended_use
    yield "licence", manifest.licence
    yield "needs", f"edgeai {manifest.min_edgeai} or newer; plugins {', '.join(manifest.plugins) or 'none'}"
    yield "eligible", _asked(manifest)
    yield "frames", _frames(manifest)
    yield "fast paths", ", ".join(manifest.pixels.fast) or "none (exact decoding)"
    steps = [f"{step.transform} {_options(step.options)}".rstrip() for step in manifest.transforms]
    yield from _listed("transforms", steps)
    yield "task", f"{manifest.task.name} {_options(manifest.task.options)}".rstrip()
    yield from _listed("inputs", [_tensor(tensor) for tensor in manifest.inputs])
    yield from _listed("outputs", [_tensor(tensor) for tensor in manifest.outputs])
    artifacts = {
        a.id: f"{a.id}: {a.format} {a.precision}, {_size(manifest, a.path)}, {a.path}" for a in manifest.artifacts
    }
    yield from _listed("artifacts", [f"{told}{', not fetched' * (name in absent)}" for name, told in artifacts.items()])
    yield "golden cases", ", ".join(case.id for case in manifest.golden) or "none"
    if manifest.evidence_path is not None:
        yield "evidence", _file(manifest, manifest.evidence_path)
    if manifest.schema > 1:
        yield from _second(manifest)


def _second(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What a manifest of schema 1 has no word for, and whether a model is run here that asks for it."""
    from edgeai.bundle.honour import not_honoured
    from edgeai.bundle.uses import source_of

    if manifest.change_control is not None:
        yield "change control", _file(manifest, manifest.change_control)
    yield (
        "answers about",
        _with(f"a {manifest.unit.kind}", {name: told for name, told in manifest.unit.told().items() if name != "kind"}),
    )
    feeds = [_with(f"{name}: {source_of(feed)}", feed.told()) for name, feed in manifest.feeds.items()]
    yield from _listed("feeds", feeds or ["the image"])
    yield from _listed("guard", _stages(manifest.guard) if manifest.guard is not None else ["none"])
    maps = [f"{use.output}: {use.method} of {use.label or 'the answer'}" for use in manifest.explanations]
    yield from _listed("explanations", maps)
    lacking = not_honoured(manifest)
    yield "runs here", f"no, this edgeai cannot do: {', '.join(lacking)}" if lacking else "yes"


def _stages(guard: GuardUse) -> list[str]:
    told = guard.told()
    if guard.model is not None:
        model = guard.model
        options = {
            "artifacts": [item.id for item in model.artifacts],
            "admit": model.admit,
            "min_score": model.min_score,
        }
        told["model"] = {"task": model.task.name, **options, "golden": [case.id for case in model.golden]}
    return [_with(stage, told.get(stage, {})) for stage in guard.stages] or ["nothing, on purpose"]


def _with(first: str, options: Mapping[str, Any]) -> str:
    return f"{first} {_options(options)}".rstrip()


def _file(manifest: Manifest, path: str) -> str:
    return f"{path}, sha256:{manifest.files[path].sha256}"


def _listed(name: str, values: list[str]) -> Iterator[tuple[str, str]]:
    for index, value in enumerate(values or ["none"]):
        yield name if index == 0 else "", value


def _asked(manifest: Manifest) -> str:
    wanted = manifest.eligibility
    asked = []
    for keyword in wanted.__struct_fields__:
        value: Any = getattr(wanted, keyword)
        if value:
            asked.append(f"{keyword} {' or '.join(value) if isinstance(value, tuple) else value}")
    return "; ".join(asked) or "any instance with pixels"


def _frames(manifest: Manifest) -> str:
    use = manifest.frames
    if use.select != "all":
        return f"the {use.select} one"
    every = "all" if use.every == 1 else f"one in {use.every}"
    return every + (f", at most {use.max}" if use.max else "")


def _tensor(tensor: TensorDecl) -> str:
    extents = " x ".join("any" if extent is None else str(extent) for extent in tensor.shape)
    return f"{tensor.name}: {tensor.dtype} {extents} {tensor.layout}".rstrip()


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in options.items())


def _size(manifest: Manifest, path: str) -> str:
    """Of the artifact's own files."""
    from edgeai.bundle.partial import own_files

    return f"{sum(manifest.files[name].bytes for name in own_files(manifest, path)) / 1000:.0f} kB"

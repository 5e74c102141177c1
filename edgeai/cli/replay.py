"""``edgeai replay RESULT.json --file X.dcm``: the same model, engine and image again; is it the same answer?"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edgeai.cli import output
from edgeai.cli.given import given
from edgeai.cli.trace import BundleOption, LookOption, ProfileOption, ResultFile, ResultId, TrustOption
from edgeai.counted import counted

if TYPE_CHECKING:
    from edgeai.api.results import EngineRef, InstanceIds, Result
    from edgeai.bundle.provenance import Link
    from edgeai.bundle.reader import Bundle
    from edgeai.bundle.trust import TrustPolicy
    from edgeai.config import DeviceConfig
    from edgeai.model.again import Comparison
    from edgeai.model.results import Identity


def command(
    result: ResultFile,
    file: Annotated[
        Path | None, typer.Option(help="The DICOM file of the image. Required.", exists=True, show_default=False)
    ] = None,
    result_id: ResultId = "",
    bundle: BundleOption = None,
    look: LookOption = None,
    profile: ProfileOption = None,
    trust: TrustOption = None,
    as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False,
) -> None:
    """Run the image of a result again, with the same bundle on the same engine, and hold the answer to the result.

    The image is held to the result first, by the hash of its content, or by its UID where the result has none. Id,
    model, signers, labels, codes, notes, thresholds and what is stated must be the same, and numbers as near as the
    bundle's golden cases ask of this artifact. Another image, bundle or engine is refused: nothing would follow from
    it. Fields of the result that are not compared are named.

    Exit status: 0 when it is the same; 1 when it differs, or the bundle is not sound or not trusted; 2 when it cannot
    be replayed here.
    """
    from edgeai.cli.saved_results import read_result, uncompared
    from edgeai.cli.terminal import printable
    from edgeai.config import load_config

    saved = read_result(result, result_id)
    before = saved.result
    path = given(file, "--file", "say which file the image is")
    config = load_config(profile) if profile else None
    ids = _hold_image(before, path, config)
    engine = before.engine
    if engine is None:
        _refuse(f"no engine ran: the result is {before.outcome}", "trace.not-run", "trace it (`edgeai trace`)")
    after, compared, signers = _again(before, engine, (path, ids), (bundle, look or [], config), trust or [])
    left_out = uncompared(saved, after.edgeai_version)
    known_by = "content" if before.instance.content else "uid"
    if as_json:
        told = {
            "same": not compared.differences,
            "identical": not compared.differences and compared.largest == 0.0,
            "largest": compared.largest,
            "numbers": compared.numbers,
            "differences": [{**asdict(each), "says": str(each)} for each in compared.differences],
            "image": known_by,
            "edgeai": [before.edgeai_version, after.edgeai_version],
            "signers": {"state": signers.state, "says": signers.says, "missing": list(signers.lacks)},
            "not_compared": left_out,
        }
        output.put(json.dumps(told, indent=1))
    else:
        _print(before, after, compared, signers, known_by)
        typer.echo(f"beside  not compared: {printable(', '.join(saved.in_short(left_out)))}")
    if compared.differences:
        raise typer.Exit(1)


def _hold_image(result: Result, path: Path, config: DeviceConfig | None) -> InstanceIds:
    """What the file is, as the result says it; ``ConfigError``: ``trace.other-image``, ``trace.masked``."""
    from edgeai.dicom.content import ContentDigest
    from edgeai.dicom.header import read_header
    from edgeai.privacy import UidMask

    mask = UidMask.of(config.privacy) if config else UidMask()
    instance = read_header(path).instance
    ids = mask.ids(instance, ContentDigest.of_file(path).result())
    if result.instance.hashed and not ids.hashed:
        why = "the result has HMACs of UIDs and content"
        _refuse(why, "trace.masked", "name the cart's profile (--profile), whose key made them")
    by_content = bool(result.instance.content)
    expected, actual = result.instance, ids
    if expected.sop_instance_uid != actual.sop_instance_uid or (by_content and expected.content != actual.content):
        what = "UID" if expected.sop_instance_uid != actual.sop_instance_uid else "content"
        _refuse(f"{path} is another image than the result's: its {what} differs", "trace.other-image", "name that one")
    return ids if by_content else replace(ids, content="")


def _again(
    before: Result,
    engine: EngineRef,
    image: tuple[Path, InstanceIds],
    where: tuple[Path | None, Sequence[Path], DeviceConfig | None],
    trust: Sequence[Path],
) -> tuple[Result, Comparison, Link]:
    from edgeai.api.errors import BackendError
    from edgeai.bundle.reader import open_bundle
    from edgeai.cli.whereabouts import bundle_of, places_of
    from edgeai.model import open_model
    from edgeai.model.again import Difference, compare, tolerance_of, tolerance_of_guard

    (file, ids), (named, look, config) = image, where
    places = [*look, *(places_of(config) if config else [])]
    with tempfile.TemporaryDirectory(prefix="edgeai-replay-") as workplace:
        path = bundle_of(before.model.digest, named, places, Path(workplace))
        if path is None:
            why = f"no bundle {before.model.digest} of {before.model.name} {before.model.version} lies where you say"
            _refuse(why, "trace.no-bundle", "name it with --bundle, or where it may lie with --look or --profile")
        bundle = _with_artifact(open_bundle(path, trust=_policy(trust, config)), engine)
        signers = _signers(before, path, [*trust, *([config.trust.keys] if config and not trust else [])])
        try:  # one thread: nobody recorded how many there were, and none is measured for one image
            model = open_model(bundle, backends=(engine.backend,), device=engine.device, threads=1)
        except BackendError as error:
            _refuse(f"{engine.engine} on {engine.device} does not open here: {error}", "trace.other-engine", _WHERE)
        with model:
            if model.engine != engine:
                _refuse(
                    f"here it would be {_named(model.engine)}, it was {_named(engine)}", "trace.other-engine", _WHERE
                )
            after = model.run_file(file, deployment=before.deployment, identity=_identity(before, ids))
        compared = compare(
            before,
            after,
            tolerance_of(bundle.manifest, engine.artifact),
            guard=tolerance_of_guard(bundle.manifest),
        )
        if signers.code:
            other = Difference(
                what="signers", was=", ".join(item.name for item in before.model.signers), now=signers.says
            )
            compared = replace(compared, differences=(*compared.differences, other))
        return after, compared, signers


def _signers(before: Result, path: Path, trusted: Sequence[Path]) -> Link:
    from edgeai.bundle.keys import read_keys
    from edgeai.bundle.reader import verify_bundle
    from edgeai.cli.trace_links import signers_link

    return signers_link(before, verify_bundle(path), read_keys(trusted))


def _identity(before: Result, ids: InstanceIds) -> Identity:
    """Derived anew; what cannot be (a later attempt keeps the id of the first one's bundle) is taken as it stands."""
    from edgeai.model.results import Identity, derived_ids

    derived = derived_ids(before)
    is_derived = before.result_id in derived or (bool(derived) and before.attempt == 1)
    result_id = before.result_id if before.result_id in derived or not is_derived else derived[0]
    return Identity(result_id=result_id, instance=ids, attempt=before.attempt)


_WHERE = "replay it where that engine is installed in that version; `edgeai infer` runs the image on what is here"


def _with_artifact(bundle: Bundle, engine: EngineRef) -> Bundle:
    """The bundle as if it had this artifact alone, so that no other is chosen."""
    from edgeai.bundle.partial import only

    if engine.artifact not in {item.id for item in bundle.artifacts}:
        why = f"artifact {engine.artifact} is not in the bundle, or was not fetched"
        _refuse(why, "trace.artifact", "name the whole bundle with --bundle")
    return replace(bundle, manifest=only(bundle.manifest, engine.artifact))


def _policy(trust: Sequence[Path], config: DeviceConfig | None) -> TrustPolicy | None:
    from edgeai.bundle.trust import TrustPolicy

    if trust:
        return TrustPolicy(keys=tuple(trust))
    return TrustPolicy.of(config.trust) if config else None


def _named(engine: EngineRef) -> str:
    return f"{engine.artifact} ({engine.precision}) on {engine.engine}, {engine.device}"


def _refuse(why: str, code: str, remedy: str) -> NoReturn:
    from edgeai.api.errors import ConfigError

    raise ConfigError(why, code=code, remedy=remedy)


def _print(before: Result, after: Result, compared: Comparison, signers: Link, known_by: str) -> None:
    from edgeai.cli.terminal import printable

    image = "by the hash of its content" if known_by == "content" else "by its UID alone: the result has no hash of it"
    typer.echo(f"image   the same, {image}")
    typer.echo(f"model   {after.model.name} {after.model.version}, {after.model.digest}")
    lacks = f"; missing: {', '.join(signers.lacks)}" if signers.lacks else ""
    typer.echo(f"signers {printable(signers.says)}{printable(lacks)}")
    if before.attempt > 1:
        typer.echo(f"id      of attempt {before.attempt}, not derived anew where another bundle gave the first one")
    if before.engine is not None:
        typer.echo(f"engine  {_named(before.engine)}")
    if before.edgeai_version != after.edgeai_version:
        typer.echo(f"edgeai  {printable(before.edgeai_version)} then, {after.edgeai_version} now")
    if not compared.differences:
        near = "to the digit" if compared.largest == 0.0 else f"to the tolerance: at most {compared.largest:.3g} apart"
        typer.echo(f"answer  the same {near} ({counted(compared.numbers, 'number')})")
        return
    typer.echo(f"answer  DIFFERS in {len(compared.differences)} of what it says:")
    for each in compared.differences:
        typer.echo(f"  {printable(each)}")

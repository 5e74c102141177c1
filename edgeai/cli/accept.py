"""``edgeai accept PROFILE --data DIR``: a site's own cases on its own cart, and a signed report of them."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeai.cli import output
from edgeai.cli.given import given
from edgeai.cli.keys import KEY_HELP, PassphraseFile, passphrase
from edgeai.counted import counted

if TYPE_CHECKING:
    from edgeai.bundle.acceptance import Acceptance, Judged
    from edgeai.config import Deployment, DeviceConfig
    from edgeai.model import Model
    from edgeai.model.accepting import Expectation


def command(
    profile: Annotated[Path, typer.Argument(help="the profile that the device runs with", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(help="A folder of images with cases.csv. Required.", exists=True, show_default=False),
    ] = None,
    deployment: Annotated[str, typer.Option(help="Which one; the only one without.", metavar="NAME")] = "",
    bundle: Annotated[Path | None, typer.Option(help="A bundle in place of the one that runs.", exists=True)] = None,
    least: Annotated[float, typer.Option(help="So much must be right: the lower end counts.", min=0, max=1)] = 0.8,
    key: Annotated[str, typer.Option(help=f"{KEY_HELP} The site's; without, nothing is signed or kept.")] = "",
    passphrase_file: PassphraseFile = None,
    out: Annotated[Path | None, typer.Option(help="Where the report goes; to data_dir/acceptance without.")] = None,
    as_json: Annotated[bool, output.option("The report as JSON.")] = False,
) -> None:
    """Run a site's own labelled cases on its own cart, with the deployment's engine, and sign what came of them.

    cases.csv has a row an expectation: file, label, present (yes or no), and perhaps measurement, least, most.
    An image is right where all that is expected of it is; what the model withheld is not. Intervals tell how sure
    that is, so that one image that is there twice is refused. The service need not be running.

    Exit status: 0 when it is accepted; 1 when it is not, or the bundle does not open; 2 when profile, cases or key
    cannot be used.
    """
    from edgeai.bundle.acceptance import signed_acceptance
    from edgeai.bundle.signing import signer_of
    from edgeai.config import load_config
    from edgeai.model.accepting import read_cases
    from edgeai.model.copies import refuse_copies

    config = load_config(profile)
    cases = read_cases(given(data, "--data", "say where the cases are"))
    signer = signer_of(key, passphrase(passphrase_file)) if key else None  # asked before minutes of work
    meant = _meant(config, deployment)
    refuse_copies(cases)
    report = _report(config, meant, bundle, cases, least)
    if signer is not None:
        _keep(config, report, signed_acceptance(report, signer), out)
    _tell(report, as_json=as_json, is_signed=signer is not None)
    if not report.accepted:
        raise typer.Exit(1)


def _meant(config: DeviceConfig, name: str) -> Deployment:
    from edgeai.api.errors import ConfigError
    from edgeai.slots import standing

    meant = [item for item in config.deployments if item.name == name or not name]
    if len(meant) != 1:
        here = ", ".join(item.name for item in config.deployments) or "none"
        what = f"no deployment {name!r}" if name else "several deployments, or none"
        raise ConfigError(
            f"the profile has {what} (here: {here})",
            code="config.no-deployment",
            remedy="name one with --deployment",
        )
    return standing(config, meant[0])


def _report(
    config: DeviceConfig,
    deployment: Deployment,
    bundle: Path | None,
    cases: dict[Path, tuple[Expectation, ...]],
    least: float,
) -> Acceptance:
    import edgeai
    from edgeai.bundle.acceptance import Acceptance
    from edgeai.bundle.reader import open_bundle
    from edgeai.bundle.trust import TrustPolicy
    from edgeai.model.accepting import by_image, by_label, digest_of_cases
    from edgeai.model.results import now
    from edgeai.roles.engine import Noter, open_deployment
    from edgeai.spool import Station

    with tempfile.TemporaryDirectory(prefix="edgeai-accept-") as folder:
        opened = open_bundle(
            bundle or deployment.bundle, cache_dir=Path(folder) / "bundles", trust=TrustPolicy.of(config.trust)
        )
        device = config.device.model_copy(update={"data_dir": Path(folder)})
        elsewhere = config.model_copy(update={"device": device})
        note = Noter(Station(Path(folder), "accept"), deployment)
        with closing(open_deployment(opened, elsewhere, deployment, note, ())) as model:
            model.rehearse()
            contents, answers = _answers(config, model, cases)
            engine = model.engine
    right = by_image(answers)
    return Acceptance(
        model=opened.manifest.name,
        version=opened.manifest.version,
        digest=opened.digest,
        site=config.device.site,
        device_id=config.device.id,
        deployment=deployment.name,
        at=now(),
        edgeai_version=edgeai.__version__,
        engine={name: getattr(engine, name) for name in engine.__slots__},
        data=digest_of_cases(contents),
        cases=len(cases),
        least=least,
        right=right,
        withheld=sum(item.stated is None for item in answers),
        accepted=right.low >= least,
        sensitivity=by_label(answers, present=True),
        specificity=by_label(answers, present=False),
        answers=tuple(answers),
    )


def _answers(
    config: DeviceConfig, model: Model, cases: dict[Path, tuple[Expectation, ...]]
) -> tuple[dict[str, tuple[Expectation, ...]], list[Judged]]:
    from edgeai.api.errors import DicomRejected
    from edgeai.dicom.content import ContentDigest
    from edgeai.model.accepting import judged
    from edgeai.privacy import UidMask

    mask = UidMask.of(config.privacy)
    contents: dict[str, tuple[Expectation, ...]] = {}
    answers: list[Judged] = []
    for number, (path, expected) in enumerate(cases.items(), start=1):
        try:
            content = mask.uid(ContentDigest.of_file(path).result())
        except (DicomRejected, OSError):
            content = f"unreadable {number}"
        contents[content] = expected
        answers += judged(content, expected, model.run_file(path))
    return contents, answers


def _keep(config: DeviceConfig, report: Acceptance, signed: bytes, out: Path | None) -> None:
    from edgeai.api.errors import ConfigError
    from edgeai.bundle.acceptance import FOLDER
    from edgeai.durable import make_folder, replace_file

    path = out or config.device.data_dir / FOLDER / f"{report.digest.removeprefix('sha256:')}.json"
    try:
        make_folder(path.parent)
        replace_file(path, signed)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            code="config.report-unwritable",
            remedy="call it as the service's user, or name a file with --out",
        ) from error
    typer.echo(f"report in {path}", err=True)


def _tell(report: Acceptance, *, as_json: bool, is_signed: bool) -> None:
    from edgeai.bundle.acceptance import encode_acceptance

    if as_json:
        output.put(encode_acceptance(report).decode())
        return
    on = f"{report.engine['engine']}, {report.engine['device']}"
    typer.echo(f"{report.model} {report.version} on {on}: {counted(report.cases, 'case')}")
    shares = {"right": report.right}
    shares |= {f"{label} seen": each for label, each in report.sensitivity.items()}
    shares |= {f"{label} denied": each for label, each in report.specificity.items()}
    for name, each in shares.items():
        typer.echo(f"  {name:24} {each.count} of {each.of} ({each.low:.3f} to {each.high:.3f})")
    typer.echo(f"  {'withheld':24} {report.withheld}")
    verdict = "ACCEPTED" if report.accepted else "NOT ACCEPTED"
    signed = "" if is_signed else "; nothing is signed or kept without --key"
    typer.echo(f"{verdict}: at least {report.least:.3f} must be right, by the lower end{signed}")

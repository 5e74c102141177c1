"""``edgeai infer BUNDLE FILES|FOLDERS...``: a bundle on files, without any service."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeai.api.results import Outcome, Result
from edgeai.cli import output
from edgeai.cli.files import Files, collect
from edgeai.cli.given import check_bundle, given

if TYPE_CHECKING:
    from edgeai.bundle.trust import TrustPolicy
    from edgeai.dicom.header import Header
    from edgeai.model import Model

Advance = Callable[[], None]


def command(
    bundle: Annotated[Path, typer.Argument(help="A .edgeai file, or the folder of an unpacked bundle.")],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATHS...", help="DICOM files, and folders to search for them. Required.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, output.option("One JSON result a line on stdout, and nothing else.")] = False,
    overlay: Annotated[
        Path | None, typer.Option(help="Folder for one PNG an instance, with the findings written on it.")
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="Backend by name; again for the next best. Default: the first that opens."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device as the engine names it. Default: its best.")] = None,
    threads: Annotated[int, typer.Option(min=0, max=256, help="Engine threads; 0: what measures best here.")] = 0,
    trust: Annotated[
        list[Path] | None,
        typer.Option(help="Public key, or folder of them, that must have signed the bundle.", exists=True),
    ] = None,
    threshold: Annotated[int, typer.Option(min=1, max=64, help="With --trust: so many keys must have signed.")] = 1,
) -> None:
    """Run a bundle on DICOM files, and say what it finds.

    A file that cannot be used never stops the others. Files of a folder that are not DICOM are passed over and counted.
    Everything runs in this one process: a decoder or an engine that crashes ends it; the service
    (edgeai run) is what survives that. No file is hashed: result ids leave the content out, and differ from those
    of the service.

    Exit status: 0 when every run completed or was not applicable, 1 when any failed, 2 when the command is wrong.
    """
    from edgeai.model import open_model

    if not paths or not bundle.exists():
        check_bundle(bundle, whole=not paths)
    files = collect(given(paths, "PATHS...", "say which files it is to look at, or a folder of them"))
    if overlay is not None:
        _make_folder(overlay)
    policy = _policy(trust, threshold)
    with open_model(bundle, backends=tuple(backend or ()), device=device, threads=threads, trust=policy) as model:
        _say_degraded(model)
        results = _run(model, files, as_json=as_json, overlay=overlay)
    if not as_json:
        from edgeai.cli.table import print_results

        print_results(files.paths, results)
    _say_left_out(files, overlay)
    if any(result.outcome is Outcome.FAILED for result in results):
        raise typer.Exit(1)


def _policy(trust: list[Path] | None, threshold: int) -> TrustPolicy | None:
    if not trust:
        return None
    from edgeai.bundle.trust import TrustPolicy

    return TrustPolicy(keys=tuple(trust), threshold=threshold)


def _run(model: Model, files: Files, *, as_json: bool, overlay: Path | None) -> list[Result]:
    from edgeai.model.abreast import run_files

    results = []
    headers: dict[Path, Header] = {}
    draw, kept = _drawing(overlay), None if overlay is None else headers
    with _progress(len(files.paths)) as advance, closing(run_files(model, files.paths, headers=kept)) as answers:
        for path, result in answers:
            results.append(result)
            if as_json:
                output.put(json.dumps({"file": str(path), **result.as_dict()}))
            draw(path, result, headers.pop(path, None))
            advance()
    return results


def _drawing(folder: Path | None) -> Callable[[Path, Result, Header | None], None]:
    if folder is None:
        return lambda path, result, header: None
    from edgeai.cli.overlay import Overlays

    overlays = Overlays(folder)

    def draw(path: Path, result: Result, header: Header | None) -> None:
        try:
            overlays.draw(path, result, header)
        except OSError as error:
            typer.echo(f"no overlay of {path}: {error.strerror or error}", err=True)

    return draw


def _progress(total: int) -> AbstractContextManager[Advance]:
    """A bar on a terminal; nothing where nobody watches, or where there is one file."""
    if total < 2 or not sys.stderr.isatty():
        return nullcontext(lambda: None)
    return _bar(total)


@contextmanager
def _bar(total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("infer", total=total)
        yield lambda: progress.advance(task)


def _make_folder(folder: Path) -> None:
    from edgeai.api.errors import ConfigError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"overlays cannot be written to {folder}: {error.strerror}", code="config.overlay-folder"
        ) from error


def _say_degraded(model: Model) -> None:
    if model.degraded is not None:
        typer.echo(f"degraded: wished for {model.degraded.wished}, took {model.choice.taken}", err=True)
        for because in model.degraded.because:
            typer.echo(f"  {because}", err=True)


def _say_left_out(files: Files, overlay: Path | None) -> None:
    for count, what in ((files.others, "not DICOM"), (files.duplicates, "named twice")):
        if count:
            typer.echo(f"{count} {_files(count)} passed over: {what}", err=True)
    if overlay is not None:
        typer.echo(f"overlays in {overlay}", err=True)


def _files(count: int) -> str:
    return "file" if count == 1 else "files"

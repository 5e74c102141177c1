"""``edgeai trace RESULT.json``: from a result back to what its model was made of, each link recomputed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.cli import output
from edgeai.cli.verify import TRUST_HELP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeai.api.results import Result
    from edgeai.bundle.provenance import Link
    from edgeai.cli.saved_results import Saved
    from edgeai.config import DeviceConfig

ResultFile = Annotated[Path, typer.Argument(help="A file that holds the result as JSON.", metavar="RESULT.json")]
ResultId = Annotated[str, typer.Option("--result", help="Its id, where the file has several.", metavar="ID")]
BundleOption = Annotated[Path | None, typer.Option(help="The bundle that gave it.", exists=True)]
LookOption = Annotated[
    list[Path] | None,
    typer.Option(help="Where its bundle may lie: a folder of bundles or slots, or a repository's.", exists=True),
]
ProfileOption = Annotated[
    Path | None, typer.Option(help="A cart's profile: its slots and bundles are looked in, and its keys trusted.")
]
TrustOption = Annotated[list[Path] | None, typer.Option(help=TRUST_HELP, exists=True, metavar="DIR|FILE")]
_MARKS = {"holds": "holds", "missing": "MISSING", "broken": "BROKEN"}


def command(
    result: ResultFile,
    result_id: ResultId = "",
    bundle: BundleOption = None,
    look: LookOption = None,
    profile: ProfileOption = None,
    trust: TrustOption = None,
    as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False,
) -> None:
    """Trace a result, offline: its bundle, who signed it, the card, the evidence, the data, the build environment.

    Each link is recomputed from the bytes at hand: the result's id, every file of the bundle, every signature, and
    whether the bundle's documents speak of one another. What is missing is named, and breaks nothing; what
    contradicts something is broken, and says so with a code. Fields of the result that no link covers are named last.

    Exit status: 0 when no link is broken; 1 when one is, or the bundle lies nowhere; 2 when the command, the result
    or a key cannot be used.
    """
    from edgeai.cli.saved_results import read_result
    from edgeai.config import load_config

    saved = read_result(result, result_id)
    config = load_config(profile) if profile else None
    links = _links(saved.result, bundle, look or [], config, trust or [])
    (_print_json if as_json else _print)(saved, links)
    if any(link.state == "broken" for link in links):
        raise typer.Exit(1)


def _links(
    result: Result, named: Path | None, look: Sequence[Path], config: DeviceConfig | None, trust: Sequence[Path]
) -> list[Link]:
    from edgeai.api.errors import BundleRejected
    from edgeai.bundle.documents import documents_of
    from edgeai.bundle.keys import read_keys
    from edgeai.bundle.provenance import Link, links_of
    from edgeai.bundle.reader import verify_bundle
    from edgeai.cli import trace_links
    from edgeai.cli.whereabouts import bundle_of, places_of

    keys = read_keys([*trust, *([config.trust.keys] if config and not trust else [])])
    places = [*look, *(places_of(config) if config else [])]
    first = trace_links.result_link(result)
    with tempfile.TemporaryDirectory(prefix="edgeai-trace-") as workplace:
        try:
            path = bundle_of(result.model.digest, named, places, Path(workplace))
            if path is None:
                return [first, _nowhere(result, places)]
            verified = verify_bundle(path)
            documents = documents_of(path, verified.manifest)
        except BundleRejected as error:
            return [first, Link(name="bundle", says=str(error), code=error.code)]
        return [
            first,
            trace_links.bundle_link(result, verified, path if path != Path(workplace) else None),
            *trace_links.requires_links(result),
            trace_links.engine_link(result, verified, documents.evidence),
            trace_links.findings_link(result, verified.manifest),
            trace_links.signers_link(result, verified, keys),
            *links_of(verified.manifest, documents),
        ]


def _nowhere(result: Result, places: Sequence[Path]) -> Link:
    from edgeai.bundle.provenance import Link

    where = ", ".join(map(str, places)) or "no folder was named (--bundle, --look, --profile)"
    says = f"no bundle {result.model.digest} of {result.model.name} {result.model.version} lies there: {where}"
    return Link(name="bundle", says=says, code="trace.no-bundle", lacks=("the bundle",))


def _uncovered(saved: Saved, links: Sequence[Link]) -> tuple[list[str], list[str]]:
    """Fields of the result that no link covers: those that a replay holds to the image, and those that nothing does."""
    import edgeai
    from edgeai.cli.saved_results import uncompared

    left = saved.without(field for link in links for field in link.fields)
    nothing = set(uncompared(saved, edgeai.__version__) if saved.result.engine is not None else left)
    return [name for name in left if name not in nothing], [name for name in left if name in nothing]


def _print(saved: Saved, links: Sequence[Link]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from edgeai.cli.terminal import printable

    result = saved.result
    heading = f"{result.model.name} {result.model.version} said {result.outcome} on {result.created_at}"
    title = Text(printable(heading), style="bold")
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 1))
    for column in ("link", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("what was compared", overflow="fold")
    for link in links:
        code = f" [{link.code}]" if link.code else ""
        lacks = f"; missing: {', '.join(link.lacks)}" if link.lacks else ""
        table.add_row(link.name, _MARKS[link.state], Text(printable(f"{link.says}{code}{lacks}")))
    replayed, unheld = _uncovered(saved, links)
    console = Console()
    console.print(table)
    for what, names in (("Not covered here, but by `edgeai replay`", replayed), ("Covered by neither", unheld)):
        if names:
            console.print(Text(printable(f"{what}: {', '.join(saved.in_short(names))}")))


def _print_json(saved: Saved, links: Sequence[Link]) -> None:
    told: list[dict[str, Any]] = [
        {
            "link": link.name,
            "state": link.state,
            "code": link.code or None,
            "says": link.says,
            "missing": list(link.lacks),
            "facts": link.facts,
        }
        for link in links
    ]
    whole = all(link.state != "broken" for link in links)
    replayed, unheld = _uncovered(saved, links)
    body = {"result_id": saved.result.result_id, "whole": whole, "links": told}
    output.put(json.dumps({**body, "not_covered": {"but_by_replay": replayed, "at_all": unheld}}, indent=1))

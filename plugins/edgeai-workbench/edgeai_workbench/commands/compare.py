"""``edgeai compare A B --data DIR``: is one model better than another, or is it chance?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
import typer

from edgeai.api.errors import ConfigError
from edgeai.cli.given import check_bundle, given
from edgeai_workbench.commands.evaluate import (
    WANTS_DATA,
    Cards,
    Data,
    EvidenceFile,
    check_words,
    check_writable,
    counted,
    described,
    in_unit,
    print_table,
    ran_on,
    write_evidence,
    write_json,
)

if TYPE_CHECKING:
    from edgeai_workbench.contenders import Contender, EngineWish
    from edgeai_workbench.evaluation import Comparison, Difference

Side: TypeAlias = tuple[Path, str | None]
"""A file, and the artifact of it that is meant."""
Backend = Annotated[str, typer.Option("--backend", "-b", help="The engine of bundles. Default: the first that opens.")]
_SEPARATOR = "#"
_LEAST_P = 0.0001


def command(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A bundle, BUNDLE#ARTIFACT, or a .keras file.", show_default=False)
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same; one of the two is a bundle.", show_default=False)],
    data: Data = None,
    backend: Backend = "",
    device: Annotated[str | None, typer.Option("--device", help="As the engine names it. Default: its best.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, max=256, help="0: the engine's own default.")] = 0,
    split: Annotated[str, typer.Option("--split", help="validation, train, test or external.")] = "validation",
    card: Cards = None,
    resamples: Annotated[int, typer.Option("--resamples", min=100, max=100_000, help="Of the bootstrap.")] = 1000,
    out: Annotated[Path | None, typer.Option("--json", help="Write everything to this file, too.")] = None,
    evidence: EvidenceFile = None,
) -> None:
    """Hold two models against each other on the same samples: the difference, its 95 % interval, and a test.

    Both are asked of every sample: what is hard for both does not widen the interval. AUC is tested by DeLong, shares
    such as accuracy by McNemar (exact), the rest by the paired bootstrap; where several samples are of one patient,
    by how patients differ. A p below 0.05 means that chance does not explain the difference. "no difference shown"
    does not mean that there is none: the interval says how large it may still be. Look at the main metric (*) first.

    Looks at the test count, as for edgeai evaluate: --card names the folder of each bundle's card.

    For example:

      edgeai compare dist/us-head-1.0.0.edgeai models/us-head/us-head.keras --data ~/data

      edgeai compare my.edgeai#tflite-fp32 my.edgeai#tflite-int8 --data ~/pictures

    Exit status: 0 when compared; 2 when the data or the command cannot be used; 1 otherwise.
    """
    from edgeai.cli.progress import progress_line
    from edgeai_workbench.contenders import EngineWish, samples_of
    from edgeai_workbench.evaluation import compare
    from edgeai_workbench.evidence import look_of
    from edgeai_workbench.finished import evidence_of_two, split_of
    from edgeai_workbench.looking import held_looks, refuse_card, told
    from edgeai_workbench.prepared import Sieve

    sides = _sides(a, b)
    for bundle in (path for path, _ in sides if not _is_keras(path)):
        check_bundle(bundle, whole=data is None)
    root = given(data, "--data", WANTS_DATA)
    meant = check_words(split, backend)
    refuse_card(card or (), split)
    check_writable(out, evidence)
    wish = EngineWish(backend=meant, device=device, threads=threads)
    with progress_line() as progress:
        progress("reading the tables")
        samples, source = samples_of(next(path for path, _ in sides if not _is_keras(path)), root, split)
        with _opened(sides, wish) as (one, other):
            one.check_same_task(other)
            pair = ((sides[0][0], one), (sides[1][0], other))
            looks = held_looks(pair, card or (), samples, split=split_of(split, source))
            progress(f"reading {len(samples)} samples")
            sieve = Sieve(one.manifest.eligibility, other.manifest.eligibility)
            prepared = one.prepared(samples, progress, sieve=sieve)
            mine = one.answers(prepared, progress)
            again = prepared if one.same_transforms(other) else other.prepared(prepared.samples, progress)
            theirs = other.answers(again, progress)
            progress("computing the differences")
            found = compare(prepared, mine, theirs, resamples=resamples)
    openings = [look.record() for look in looks]
    lines = [told(look, opening) for look, opening in zip(looks, openings, strict=True)]
    _print(one, other, found, [*counted(found.n, found.drawn, source, sieve.refused), *lines])
    if out is not None:
        write_json(out, _both(one, other) | {"source": source, "not_eligible": sieve.refused} | found.as_dict())
    if evidence is not None:
        both = evidence_of_two(one, other, found, prepared, split=split_of(split, source))
        write_evidence(evidence, msgspec.structs.replace(both, openings=tuple(map(look_of, openings))))


def _both(one: Contender, other: Contender) -> dict[str, Any]:
    return {"schema": 1, "a": described(one), "b": described(other)}


def _sides(a: str, b: str) -> list[Side]:
    sides = [_parsed(a), _parsed(b)]
    if all(_is_keras(path) for path, _ in sides):
        raise ConfigError(
            "neither is a bundle: nothing says what the outputs mean",
            code="evaluate.no-bundle",
            remedy="compare a bundle with a .keras file, or pack one of them",
        )
    for path, _ in sides:
        if not path.exists():
            raise ConfigError(f"{path}: no such file", code="evaluate.no-file")
    return sides


@contextmanager
def _opened(sides: list[Side], wish: EngineWish) -> Iterator[tuple[Contender, Contender]]:
    """Both, bundles first: a ``.keras`` file borrows transforms and task of the bundle beside it."""
    from edgeai_workbench.contenders import open_contender, open_keras

    found: dict[int, Contender] = {}
    with ExitStack() as stack:
        for place, (path, artifact) in enumerate(sides):
            if not _is_keras(path):
                found[place] = stack.enter_context(open_contender(path, wish, artifact=artifact))
        for place, (path, _) in enumerate(sides):
            if place not in found:
                found[place] = stack.enter_context(open_keras(path, found[1 - place]))
        yield found[0], found[1]


def _parsed(side: str) -> Side:
    """``BUNDLE#ARTIFACT`` -> path and artifact; a file whose own name has the sign is a file."""
    if Path(side).exists() or _SEPARATOR not in side:
        return Path(side), None
    name, _, artifact = side.rpartition(_SEPARATOR)
    return Path(name), artifact


def _is_keras(path: Path) -> bool:
    return path.suffix == ".keras"


def _print(one: Contender, other: Contender, found: Comparison, counts: list[str]) -> None:
    for line in (f"A: {ran_on(one)}", f"B: {ran_on(other)}", *counts, ""):
        typer.echo(line)
    head = ("metric", "A", "B", "B - A", "95 % interval", "p", "test", "")
    main = found.main
    rows = [_row(name + (" *" if name == main else ""), difference) for name, difference in found.differences.items()]
    print_table([head, *rows])
    typer.echo(f"\ndecided alike: {found.agreement:.1%} of the samples")
    typer.echo(_sentence(main, found.differences[main]))


def _row(name: str, found: Difference) -> tuple[str, ...]:
    gap = found.difference
    low, high = _signed(gap.low, gap.unit), _signed(gap.high, gap.unit)
    return (
        name,
        in_unit(found.one, gap.unit),
        in_unit(found.other, gap.unit),
        _signed(gap.value, gap.unit),
        f"{low} to {high}" if low and high else "",
        _p(found.p),
        found.test,
        found.says,
    )


def _signed(value: float, unit: str) -> str:
    shown = in_unit(abs(value), unit)
    return ("-" if value < 0 else "+") + shown if shown else ""


def _p(p: float) -> str:
    if p != p:  # NaN
        return ""
    return f"< {_LEAST_P}" if p < _LEAST_P else f"{p:.4f}"


def _sentence(main: str, found: Difference) -> str:
    gap = found.difference
    if found.shown:
        return f"{main}: {found.says}, by {in_unit(abs(gap.value), gap.unit)}."
    if gap.low == gap.low:
        reach = (
            f"; B - A lies between {_signed(gap.low, gap.unit)} and {_signed(gap.high, gap.unit)}, with 95 % confidence"
        )
    else:
        reach = ""
    return f"{main}: no difference shown{reach}."

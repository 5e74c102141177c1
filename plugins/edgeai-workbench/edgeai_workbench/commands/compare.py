"""``edgeai compare A B --data DIR``: is one model better than another, or is it chance?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
    from edgeai.bundle.evidence import Evidence
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

      edgeai compare dist/us-head-1.3.1.edgeai models/us-head/us-head.keras --data ~/data

      edgeai compare my.edgeai#tflite-fp32 my.edgeai#tflite-int8 --data ~/pictures

    Exit status: 0 when compared; 2 when the data or the command cannot be used; 1 otherwise.
    """
    sides = _sides(a, b)
    for bundle in (path for path, _ in sides if not _is_keras(path)):
        check_bundle(bundle, whole=data is None)
    root = given(data, "--data", WANTS_DATA)
    wish = (check_words(split, backend), device, threads)
    check_writable(out, evidence)
    compared = _compared(sides, wish, (root, split, tuple(card or ())), resamples)
    _print(compared)
    if out is not None:
        body = {"source": compared.source, "not_eligible": compared.refused} | compared.found.as_dict()
        write_json(out, _both(compared.one, compared.other) | body)
    if evidence is not None:
        write_evidence(evidence, compared.evidence)


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """What came of it, and how often the test was looked at, in words."""

    one: Contender
    other: Contender
    found: Comparison
    source: str
    refused: dict[str, int]
    looks: list[str]
    evidence: Evidence


def _compared(
    sides: list[Side],
    wish: tuple[str, str | None, int],
    where: tuple[Path, str, tuple[Path, ...]],
    resamples: int,
) -> _Compared:
    """Compare; looks at a test are written down as soon as there are figures, and before any is shown."""
    from edgeai.cli.progress import progress_line
    from edgeai_workbench.contenders import EngineWish, samples_of
    from edgeai_workbench.evaluation import compare
    from edgeai_workbench.evidence import look_of
    from edgeai_workbench.finished import evidence_of_two, split_of
    from edgeai_workbench.looking import held_looks, refuse_card, told
    from edgeai_workbench.prepared import Sieve

    root, split, cards = where
    backend, device, threads = wish
    refuse_card(cards, split)
    with progress_line() as progress:
        progress("reading the tables")
        samples, source = samples_of(next(path for path, _ in sides if not _is_keras(path)), root, split)
        read = split_of(split, source)
        with _opened(sides, EngineWish(backend=backend, device=device, threads=threads)) as (one, other):
            one.check_same_task(other)
            one, other = one.judged_as(other), other.judged_as(one)
            looks = held_looks(((sides[0][0], one), (sides[1][0], other)), cards, samples, split=read)
            progress(f"reading {len(samples)} samples")
            sieve = Sieve(one.manifest.eligibility, other.manifest.eligibility)
            prepared = one.prepared(samples, progress, sieve=sieve)
            mine = one.answers(prepared, progress)
            again = prepared if one.same_transforms(other) else other.prepared(prepared.samples, progress)
            theirs = other.answers(again, progress)
            progress("computing the differences")
            comparison = compare(prepared, mine, theirs, resamples=resamples)
    openings = [look.record() for look in looks]
    return _Compared(
        one=one,
        other=other,
        found=comparison,
        source=source,
        refused=sieve.refused,
        looks=[told(look, opening) for look, opening in zip(looks, openings, strict=True)],
        evidence=msgspec.structs.replace(
            evidence_of_two(one, other, comparison, prepared, split=read), openings=tuple(map(look_of, openings))
        ),
    )


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

    contenders: dict[int, Contender] = {}
    with ExitStack() as stack:
        for place, (path, artifact) in enumerate(sides):
            if not _is_keras(path):
                contenders[place] = stack.enter_context(open_contender(path, wish, artifact=artifact))
        for place, (path, _) in enumerate(sides):
            if place not in contenders:
                contenders[place] = stack.enter_context(open_keras(path, contenders[1 - place]))
        yield contenders[0], contenders[1]


def _parsed(side: str) -> Side:
    """``BUNDLE#ARTIFACT`` -> path and artifact; a file whose own name has the sign is a file."""
    if Path(side).exists() or _SEPARATOR not in side:
        return Path(side), None
    name, _, artifact = side.rpartition(_SEPARATOR)
    return Path(name), artifact


def _is_keras(path: Path) -> bool:
    return path.suffix == ".keras"


def _print(compared: _Compared) -> None:
    comparison = compared.found
    counts = counted(comparison.n, comparison.drawn, compared.source, compared.refused)
    for line in (f"A: {ran_on(compared.one)}", f"B: {ran_on(compared.other)}", *counts, *compared.looks, ""):
        typer.echo(line)
    head = ("metric", "A", "B", "B - A", "95 % interval", "p", "test", "")
    main = comparison.main
    rows = [
        _row(name + (" *" if name == main else ""), difference) for name, difference in comparison.differences.items()
    ]
    print_table([head, *rows])
    typer.echo(f"\ndecided alike: {comparison.agreement:.1%} of the samples")
    typer.echo(_sentence(main, comparison.differences[main]))


def _row(name: str, difference: Difference) -> tuple[str, ...]:
    from edgeai_workbench.spread import in_words

    gap = difference.difference
    return (
        name,
        in_unit(difference.one, gap.unit),
        in_unit(difference.other, gap.unit),
        _signed(gap.value, gap.unit),
        in_words(gap.low, gap.high, lambda end: _signed(end, gap.unit)),
        _p(difference.p),
        difference.test,
        difference.says,
    )


def _signed(value: float, unit: str) -> str:
    shown = in_unit(abs(value), unit)
    return ("-" if value < 0 else "+") + shown if shown else ""


def _p(p: float) -> str:
    if p != p:  # NaN
        return ""
    return f"< {_LEAST_P}" if p < _LEAST_P else f"{p:.4f}"


def _sentence(main: str, difference: Difference) -> str:
    from edgeai_workbench.spread import NO_SPREAD, flat

    gap = difference.difference
    if difference.shown:
        return f"{main}: {difference.says}, by {in_unit(abs(gap.value), gap.unit)}."
    reach = ""
    if flat(gap.low, gap.high):
        reach = f"; {NO_SPREAD}"
    elif gap.low == gap.low:
        reach = (
            f"; B - A lies between {_signed(gap.low, gap.unit)} and {_signed(gap.high, gap.unit)}, with 95 % confidence"
        )
    return f"{main}: no difference shown{reach}."

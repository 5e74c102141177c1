"""``edgeai evaluate BUNDLE --data DIR``: how good is it, how sure is that, and for whom?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from edgeai.api.errors import ConfigError
from edgeai.cli.given import check_bundle, given, meant_backends

if TYPE_CHECKING:
    from edgeai.bundle.evidence import Evidence
    from edgeai_workbench.contenders import Contender
    from edgeai_workbench.evaluation import Score, Scores
    from edgeai_workbench.robustness import Robustness
    from edgeai_workbench.stress.results import Stress as WrongImages


Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder with the tables that the bundle's card names; or with one folder a label. Required.",
        show_default=False,
    ),
]
"""Folder of the samples, asked for once the bundle is known to be there."""

EvidenceFile = Annotated[
    Path | None, typer.Option("--evidence", help="Write it to this file as a build's evidence.json has it.")
]

ArtifactName = Annotated[
    str | None, typer.Option("--artifact", help="This one. Default: the one that a cart would take.")
]
SplitName = Annotated[
    str, typer.Option("--split", help="validation; train, to see what was learnt by heart; test; or external.")
]
Cards = Annotated[
    list[Path] | None,
    typer.Option("--card", help="With --split test: the card's folder, where each look at its test is written down."),
]
Resamples = Annotated[int, typer.Option("--resamples", min=0, max=100_000, help="Of the bootstrap; 0: no intervals.")]
Robust = Annotated[
    bool, typer.Option("--robustness", help="Ask about odd images too, and as another hospital would send them.")
]
Stress = Annotated[
    bool, typer.Option("--stress", help="Ask every artifact of wrong images too: drawings, its own changed, [stress].")
]
StressSet = Annotated[
    Path | None, typer.Option("--stress-set", help="A file with [stress], in place of the card's; asks too.")
]
StressPage = Annotated[Path | None, typer.Option("--stress-page", help="Write that table as Markdown; asks too.")]
WANTS_DATA = "say where the samples are"


def command(
    bundle: Annotated[Path, typer.Argument(help="A .edgeai file or an unpacked bundle.", show_default=False)],
    data: Data = None,
    backend: Annotated[str, typer.Option("--backend", "-b", help="The engine. Default: the first that opens.")] = "",
    device: Annotated[str | None, typer.Option("--device", help="As the engine names it. Default: its best.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, max=256, help="0: the engine's own default.")] = 0,
    artifact: ArtifactName = None,
    split: SplitName = "validation",
    card: Cards = None,
    resamples: Resamples = 1000,
    robustness: Robust = False,
    stress: Stress = False,
    stress_set: StressSet = None,
    stress_page: StressPage = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write everything to this file, too.")] = None,
    evidence: EvidenceFile = None,
) -> None:
    """Judge a bundle on samples whose truth is known, exactly as a cart runs it: its transforms, its task, an engine.

    Reading the table: the interval is where the metric lies with 95 % confidence, given how many samples there are; a
    gate should ask for its lower end. The method is the one that holds with few samples: Wilson for shares, a score
    interval with DeLong's variance for the area under the ROC curve, else the bootstrap (BCa). Samples of one patient
    count together. A metric that these samples do not determine is listed with the reason. Subgroups are the columns
    that the card names.

    With --stress every artifact of the bundle is asked, as a cart asks it, of images that the model is not for:
    drawings that show nothing, tables that [stress] of its card (or --stress-set) names, and its own of validation
    inverted, upside down and too bright. No test is opened for it.

    A look at the test counts: --split test wants to know by --card where the bundle's card lies, writes each look down
    beside it (openings.json) before it shows a figure, and takes three for a model, those of builds included.

    For example:

      edgeai evaluate dist/us-head-1.3.1.edgeai --data ~/data

      edgeai evaluate my.edgeai --data ~/pictures --backend openvino --json scores.json

    Exit status: 0 when judged; 2 when the data or the command cannot be used; 1 otherwise.
    """
    check_bundle(bundle, whole=data is None)
    asked = _Asked(bundle=bundle, root=given(data, "--data", WANTS_DATA), split=split, cards=tuple(card or ()))
    wish = (check_words(split, backend), device, threads)
    check_writable(out, evidence, stress_page)
    judged = _judged(asked, wish, artifact, resamples, robustness=robustness)
    _print(judged, intervals=resamples > 0)
    if stress or stress_set is not None or stress_page is not None:
        judged = _stressed(judged, asked, wish, artifact, stress_set)
        if stress_page is not None:
            _write_page(stress_page, judged, asked, stress_set)
    if out is not None:
        body = described(judged.contender) | {"source": judged.source, "not_eligible": judged.refused}
        body |= judged.scores.as_dict()
        body |= {} if judged.odd is None else {"robustness": judged.odd.as_dict()}
        write_json(out, body | ({} if judged.wrong is None else {"stress": judged.wrong.as_dict()}))
    if evidence is not None:
        write_evidence(evidence, judged.evidence)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Which bundle on which samples."""

    bundle: Path
    root: Path
    split: str
    cards: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """What came of it, and how often the test was looked at, in words."""

    contender: Contender
    scores: Scores
    source: str
    refused: dict[str, int]
    odd: Robustness | None
    looks: list[str]
    evidence: Evidence
    wrong: WrongImages | None = None


def _stressed(
    judged: _Judged, asked: _Asked, wish: tuple[str, str | None, int], artifact: str | None, wanted: Path | None
) -> _Judged:
    """Ask of wrong images as well: every artifact, where neither one nor an engine is named."""
    from edgeai.cli.progress import progress_line
    from edgeai_workbench.contenders import EngineWish
    from edgeai_workbench.stress.building import of_bundle
    from edgeai_workbench.stress.words import lines_of

    backend, device, threads = wish
    one = (judged.contender.engine.artifact,) if artifact or backend else ()
    engine = EngineWish(backend=backend, device=device, threads=threads or 1)
    with progress_line() as progress:
        wrong = of_bundle(asked.bundle, asked.root, wanted=wanted, artifacts=one, wish=engine, progress=progress)
    typer.echo("\n".join(lines_of(wrong)))
    evidence = msgspec.structs.replace(judged.evidence, stress=wrong.as_dict())
    return replace(judged, wrong=wrong, evidence=evidence)


def _write_page(path: Path, judged: _Judged, asked: _Asked, wanted: Path | None) -> None:
    from edgeai_workbench.stress.words import markdown

    assert judged.wrong is not None
    by = "--stress" if wanted is None else f"--stress-set {wanted.name}"
    command = f"edgeai evaluate {asked.bundle.name} --data DIR {by}"
    write_text(path, markdown(judged.contender.name, judged.contender.digest, command, judged.wrong))


def _judged(
    asked: _Asked, wish: tuple[str, str | None, int], artifact: str | None, resamples: int, *, robustness: bool
) -> _Judged:
    """Judge; a look at a test is written down as soon as there are figures, and before any is shown."""
    from edgeai.cli.progress import progress_line
    from edgeai_workbench.contenders import EngineWish, open_contender, samples_of
    from edgeai_workbench.evaluation import score
    from edgeai_workbench.evidence import look_of
    from edgeai_workbench.finished import evidence_of_scores, split_of
    from edgeai_workbench.looking import held_looks, refuse_card, told
    from edgeai_workbench.prepared import Sieve
    from edgeai_workbench.robustness.building import of_contender

    bundle, split = asked.bundle, asked.split
    backend, device, threads = wish
    refuse_card(asked.cards, split)
    with progress_line() as progress:
        progress("reading the tables")
        samples, source = samples_of(bundle, asked.root, split)
        read = split_of(split, source)
        with open_contender(
            bundle, EngineWish(backend=backend, device=device, threads=threads), artifact=artifact
        ) as contender:
            looks = held_looks([(bundle, contender)], asked.cards, samples, split=read)
            progress(f"reading {len(samples)} samples")
            sieve = Sieve(contender.manifest.eligibility)
            prepared = contender.prepared(samples, progress, sieve=sieve)
            prepared, answers = contender.asked(prepared, progress)
            progress("computing the metrics")
            scores = score(prepared, answers, resamples=resamples)
            odd = of_contender(contender, prepared, bundle, split=split, progress=progress) if robustness else None
    openings = [look.record() for look in looks]
    return _Judged(
        contender=contender,
        scores=scores,
        source=source,
        refused=sieve.refused,
        odd=odd,
        looks=[told(look, opening) for look, opening in zip(looks, openings, strict=True)],
        evidence=msgspec.structs.replace(
            evidence_of_scores(contender, scores, prepared, split=read, ended=answers.ended),
            robustness=None if odd is None else odd.as_dict(),
            openings=tuple(look_of(opening) for opening in openings),
        ),
    )


def check_words(split: str, backend: str) -> str:
    """Refuse a split that no card has, and a backend that nobody provides; its own name, where one is named."""
    from edgeai_workbench.contenders import SPLITS

    if split not in SPLITS:
        raise typer.BadParameter(f"one of {', '.join(SPLITS)}", param_hint="--split")
    return next((name for name, _ in meant_backends([backend])), "")


def described(contender: Contender) -> dict[str, Any]:
    """Which model on which engine, for JSON."""
    return {"schema": 1, "model": contender.name, "digest": contender.digest, "engine": asdict(contender.engine)}


def check_writable(*paths: Path | None) -> None:
    """Refuse files that cannot be written, before minutes of work for them; one that is there stays as it is.

    Raises:
        ConfigError: ``config.unwritable``.
    """
    for path in filter(None, paths):
        try:
            fresh = not path.exists()
            path.open("ab").close()
            if fresh:
                path.unlink()
        except OSError as error:
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be written: {error.strerror}", code="config.unwritable")


def write_json(path: Path, body: dict[str, Any]) -> None:
    """Write a file of JSON.

    Raises:
        ConfigError: ``config.unwritable``.
    """
    write_text(path, json.dumps(body, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file of text.

    Raises:
        ConfigError: ``config.unwritable``.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error


def write_evidence(path: Path, evidence: Evidence) -> None:
    """Write a file of evidence.

    Raises:
        ConfigError: ``config.unwritable``.
    """
    from edgeai.bundle.evidence import encode_evidence

    try:
        path.write_bytes(encode_evidence(evidence))
    except OSError as error:
        raise _unwritable(path, error) from error


def ran_on(contender: Contender) -> str:
    """``xray-view 1.0.0 on tflite CPU, int8 (tflite-int8)``."""
    engine = contender.engine
    return f"{contender.name} on {engine.backend} {engine.device}, {engine.precision} ({engine.artifact})"


def counted(n: int, drawn: int, source: str, refused: dict[str, int]) -> list[str]:
    """How many samples, of how many groups, and which were left out."""
    groups = f" of {drawn} groups" if drawn < n else ""
    lines = [f"{n} sample{'' if n == 1 else 's'}{groups}, {source}"]
    return lines + [f"{count} left out: {why}" for why, count in refused.items()]


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Aligned columns, the first row above the others."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def in_order(given: Iterable[Iterable[str]], known: Sequence[str]) -> list[str]:
    """All that any of ``given`` names, as ``known`` has them; others by name behind them."""
    every = {name for names in given for name in names}
    first = [name for name in known if name in every]
    return first + sorted(every.difference(first))


def in_unit(value: float, unit: str) -> str:
    """Shares with four digits, lengths with three and their unit; empty when it is not known."""
    if value != value:  # NaN
        return ""
    return f"{value:.3f} {unit}" if unit else f"{value:.4f}"


def interval_says(score: Score) -> str:
    """The interval; in words where it would look like certainty that these samples cannot give."""
    from edgeai_workbench.spread import in_words

    return in_words(score.low, score.high, lambda end: in_unit(end, score.unit))


def _print(judged: _Judged, *, intervals: bool) -> None:
    from edgeai_workbench.report.words import ended_says, kept_back
    from edgeai_workbench.robustness.words import lines_of

    scores = judged.scores
    told = counted(scores.n, scores.drawn, judged.source, judged.refused)
    if withheld := judged.evidence.trials[0].withheld:
        told += [f"a cart withholds {kept_back(withheld, f'{scores.n} samples')}; figures are of all of them"]
    if ended := ended_says(judged.evidence.trials[0]):
        told += [ended.removesuffix(".")]
    for line in (ran_on(judged.contender), *told, *judged.looks, ""):
        typer.echo(line)
    rows = [("metric", "value", "95 % interval", "method"), *_rows(scores)]
    print_table(rows if intervals else [row[:2] for row in rows])
    for name, why in scores.undefined.items():
        typer.echo(f"{name}: not determined. {why.removeprefix(f'{name}: ')}")
    if scores.confusion is not None:
        typer.echo("\nTrue (rows), stated (columns)")
        grid = scores.confusion
        counts = zip(grid.true, grid.counts, strict=True)
        print_table([("", *grid.stated), *((name, *map(str, row)) for name, row in counts)])
    if scores.by_label:
        typer.echo("\nBy label, against the rest")
        names = in_order(scores.by_label.values(), [*scores, *scores.undefined])
        rows = [
            (label, *(in_unit(of_label.get(name, float("nan")), "") for name in names))
            for label, of_label in scores.by_label.items()
        ]
        print_table([("label", *names), *rows])
    if scores.subgroups:
        typer.echo("\nSubgroups")
        print_table([("subgroup", "samples", "metric", "value", "95 % interval", "method"), *_subgroup_rows(scores)])
    for line in lines_of(judged.odd):
        typer.echo(line)


def _rows(scores: Scores) -> list[tuple[str, ...]]:
    return [(name + (" *" if name == scores.main else ""), *_cells(scores, name)) for name in scores]


def _subgroup_rows(scores: Scores) -> list[tuple[str, ...]]:
    return [(name, str(part.n), part.main, *_cells(part, part.main)) for name, part in scores.subgroups.items()]


def _cells(scores: Scores, name: str) -> tuple[str, str, str]:
    score = scores[name]
    return in_unit(score.value, score.unit), interval_says(score), score.method

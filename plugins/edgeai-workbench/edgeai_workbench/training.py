"""``edgeai train``: run a card's ``train.py``, and record in the card what it was made with.

The script runs in a process of its own, as anyone would run it by hand. What it learnt from, and with which versions,
and on which processor, is then written into ``model.toml``; comments and order stay.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgeai.api import ConfigError, DataRejected, EdgeaiError
from edgeai.process import for_a_child
from edgeai_workbench.balance import check_balanced
from edgeai_workbench.card import CARD_NAME, INITIAL_WEIGHTS, PARENT, SCRIPT, Card, check_model, file_digest, read_card
from edgeai_workbench.choice_keys import FOLDS
from edgeai_workbench.choosing import Chooser, check_wish
from edgeai_workbench.chosen import wanted_of
from edgeai_workbench.dataset import digest, read_splits
from edgeai_workbench.folds import OUT_OF_FOLD
from edgeai_workbench.gate_names import check_metrics
from edgeai_workbench.golden import Golden, read_golden
from edgeai_workbench.judges import judge_by_plugins
from edgeai_workbench.libraries import needed
from edgeai_workbench.prepared import untransformed
from edgeai_workbench.repetition import Recorded, processor, repetition
from edgeai_workbench.resumption import STATE, begin_state

RESULT = "result: "
"""Begins a line of a script that is more than progress."""
DISTRIBUTIONS = ("edgeai", "edgeai-keras", "keras", "tensorflow", "numpy")
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
_AS_BY_HAND = """\
import runpy, sys
from edgeai.process import die_with_parent
die_with_parent()
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""The script, which goes when whoever started it has gone: two at one card would write over each other."""
_TAIL = 12
_GREETING = re.compile(
    r"WARNING: All log messages before absl::|[IW]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ |To enable the following instructions: "
)
"""What TensorFlow's native part says of itself at every start, whatever TF_CPP_MIN_LOG_LEVEL is."""
_NATIVE_ERROR = re.compile(r"[EF]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ ")
"""No progress, and mostly that there is no GPU; but where the script fails, it may be why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of it.

    Attributes:
        model: the ``.keras`` file; after a cross-validation, which writes nothing, the old one or none.
        digest: of it; empty where there is none.
        results: what the script said of the model's worth, line by line.
        repeated: whether these are the weights that the card had, and what differs; empty when it had none.
    """

    model: Path
    digest: str
    results: tuple[str, ...]
    repeated: str = ""
    resumed: str = ""
    """Whether an interrupted training was gone on with, or not, and why; empty where none was interrupted."""
    chosen: str = ""
    """What was chosen as the card's ``[choice]`` asks, and on which samples."""


def check_recipe(folder: Path) -> Card:
    """The card of a folder that has a training script beside it.

    Raises:
        ConfigError: the card; or ``build.no-script``.
    """
    card = read_card(folder)
    script = folder / SCRIPT
    if not script.is_file():
        raise ConfigError(
            f"{script}: no such file",
            code="build.no-script",
            remedy="write one that takes --data DIR; models/xray-view/train.py is one of 40 lines",
        )
    return card


def train(folder: Path, data: Path, *, folds: int = 0, progress: Callable[[str], None] = lambda step: None) -> Trained:
    """Run ``folder``'s training script on ``data``, then record digests and versions in its card.

    Args:
        folder: with ``model.toml`` and ``train.py``.
        data: where ``[dataset]`` of the card finds its tables.
        folds: of a cross-validation, in place of the training that the card records; 0 for none.
        progress: told every line of the script.

    Raises:
        ConfigError: the card; ``build.no-script``; or ``build.folds``.
        DataRejected: samples that cannot be used, before anything is trained.
        EdgeaiError: ``build.training-failed``, with the script's last lines.
    """
    card = check_recipe(folder)
    script = folder / SCRIPT
    data_digest = _data_digest(card, data, folds, progress)
    needed("tomlkit")
    told: list[str] = []
    chooser = _chooser(card, folder, data, progress, told) if _choice_now(card) and not folds else None
    options = ["--data", str(data.resolve()), *(["--cross-validate", str(folds)] if folds else [])]
    model = folder / card.model
    old = _recorded(card, folder) if card.training.environment and not folds else None  # by hand: nothing to repeat
    state, resumed = begin_state(folder, _facts(card, folder, data, data_digest), folds=folds)
    if resumed:
        progress(resumed)
    results = (*told, *_run(script, options, progress, state))
    _clear(state)
    if folds:
        digest_now = file_digest(model) if model.is_file() else ""
        return Trained(model=model, digest=digest_now, results=results, resumed=resumed)
    if not model.is_file():
        raise EdgeaiError(f"{SCRIPT} ended well, and wrote no {card.model}", code="build.training-failed")
    record(
        folder / CARD_NAME, model=file_digest(model), data=data_digest, environment=environment(), processor=processor()
    )
    repeated = repetition(old, _recorded(read_card(folder), folder)) if old else ""
    chosen = str(chooser.finish()) if chooser else ""
    if card.chooser != PARENT and card.choice is not None:
        chosen = f"edgeai build chooses {' and '.join(card.choice.options)} by {card.chooser}, when it has made it"
    return Trained(
        model=model, digest=file_digest(model), results=results, repeated=repeated, resumed=resumed, chosen=chosen
    )


def choose(folder: Path, data: Path, *, progress: Callable[[str], None] = lambda step: None) -> str:
    """Choose what the card's ``[choice]`` asks for, for the weights that there are; what was chosen, in a sentence.

    Below it stands what the script says of its folds, a line each.

    Raises:
        ConfigError: the card, or its model; ``build.choice``, ``config.card-choice``.
        DataRejected: samples that cannot be used, or folds that are none.
        EdgeaiError: ``build.training-failed``, of a fold.
    """
    card = read_card(folder)
    if wanted_of(card).on == FOLDS:
        check_recipe(folder)
    check_model(card, folder)
    if card.chooser != PARENT:
        raise ConfigError(
            f"{card.name}: {card.chooser} ships, and chooses on validation when it is made",
            code="build.choice",
            remedy="edgeai build FOLDER --data DIR",
        )
    _data_digest(card, data, 0, progress)
    needed("tomlkit")
    told: list[str] = []
    chosen = _chooser(card, folder, data, progress, told).finish()
    return "\n".join([str(chosen), *told])


def _choice_now(card: Card) -> bool:
    """Whether the parent's training chooses: a variant that ships chooses for itself, when it is built."""
    return card.choice is not None and card.chooser == PARENT


def _chooser(card: Card, folder: Path, data: Path, progress: Callable[[str], None], told: list[str]) -> Chooser:
    """What its folds' script says of their worth goes into ``told``: progress, being thinned out, shows one."""

    def cross_validate(folds: int, file: Path) -> None:
        data_digest = _data_digest(card, data, folds, progress)
        state, resumed = begin_state(folder, _facts(card, folder, data, data_digest), folds=folds)
        if resumed:
            progress(resumed)
        options = ["--data", str(data.resolve()), "--cross-validate", str(folds)]
        told.extend(_run(folder / SCRIPT, options, progress, state, {OUT_OF_FOLD: str(file)}))
        _clear(state)

    return Chooser(card, folder, data, cross_validate=cross_validate, progress=progress)


def _clear(state: Path) -> None:
    shutil.rmtree(state, ignore_errors=True)
    with suppress(OSError):  # another training's may be there
        state.parent.rmdir()


def _facts(card: Card, folder: Path, data: Path, digest_of_data: str | None) -> dict[str, str]:
    """All that decides the weights: a state of anything else is not gone on from."""
    listed = "\n".join(
        f"{path.relative_to(data)} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in (sorted(data.rglob("*")) if digest_of_data is None else ())
        if path.is_file()
    )
    return {
        "the card": file_digest(folder / CARD_NAME),
        "the script": file_digest(folder / SCRIPT),
        "the samples": digest_of_data or f"sha256:{hashlib.sha256(listed.encode()).hexdigest()}",
        "the versions": " ".join(f"{name} {version}" for name, version in environment().items()),
        "the processor": processor(),
    }


def _recorded(card: Card, folder: Path) -> Recorded:
    """What the card says of its weights, and what these answer."""
    shared = card.for_manifest()
    sources = [item for item in card.data if item.use != INITIAL_WEIGHTS]
    inputs, outputs = ([tensor.spec() for tensor in shared[what]] for what in ("inputs", "outputs"))
    golden: tuple[Golden, ...] = ()
    with suppress(ConfigError):  # a script need not write any
        golden = read_golden(folder, inputs=inputs, outputs=outputs, parent=card.model_digest)
    return Recorded(
        model=card.model_digest,
        data=sources[0].digest if len(sources) == 1 else None,
        processor=card.training.processor,
        environment=card.training.environment,
        golden=golden,
    )


def environment() -> dict[str, str]:
    """Versions that decide the weights: of Python, and of the distributions that are installed."""
    versions = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def record(
    card: Path, *, model: str, data: str | None, environment: Mapping[str, str], processor: str | None = None
) -> None:
    """Write digests, versions and the processor into a ``model.toml``; all else in it stays as it was written.

    Args:
        card: the file.
        model: digest of the ``.keras`` file.
        data: digest of the samples; goes to ``[[data]]`` where they are of one source alone.
        environment: distribution -> version.
        processor: that trained.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    tomlkit = needed("tomlkit")
    document = tomlkit.parse(card.read_text(encoding="utf-8"))
    document["model_digest"] = model
    sources = [item for item in document["data"] if item["use"] != INITIAL_WEIGHTS]
    if data is not None and len(sources) == 1:
        sources[0]["digest"] = data
    training = document["training"]
    if "environment" in training:
        for gone in set(training["environment"]) - set(environment):
            del training["environment"][gone]
        training["environment"] = _updated(training["environment"], environment)
        document["training"] = _updated(training, {} if processor is None else {"processor": processor})
    else:
        versions = tomlkit.item(dict(environment))
        added = {"environment": versions} if processor is None else {"processor": processor, "environment": versions}
        document["training"] = _updated(training, added)
    card.write_text(tomlkit.dumps(document), encoding="utf-8")


def _updated(table: Any, given: Mapping[str, Any]) -> Any:
    """The table with these values; new ones stand behind its last one: what follows are the next table's comments."""
    tomlkit = needed("tomlkit")
    for name in [name for name in given if name in table]:
        table[name] = given[name]
    # A key that was removed leaves a nothing without a name.
    body = [(key, item) for key, item in table.value.body if key is not None or item.as_string()]
    own = (n for n, (key, item) in enumerate(body) if key is not None and not isinstance(item, type(table)))
    last = max(own, default=-1)
    renewed = tomlkit.table()
    for key, item in body[: last + 1]:
        renewed.add(item) if key is None else renewed.append(key, item)
    renewed.update({name: value for name, value in given.items() if name not in table})
    for key, item in body[last + 1 :]:
        renewed.add(item) if key is None else renewed.append(key, item)
    return renewed


def _data_digest(card: Card, data: Path, folds: int, progress: Callable[[str], None]) -> str | None:
    """Of training and validation samples, in that order; ``None`` for a card whose script reads its own way."""
    if folds == 1 or folds < 0:
        raise _folds(f"{folds} folds leave nothing to train on", "--cross-validate takes 2 or more")
    if not data.is_dir():
        raise DataRejected(f"{data}: no such folder", code="data.file-missing", remedy="--data names the data's folder")
    if card.dataset is None:
        return None
    progress("reading the samples")
    outputs = tuple(tensor.spec() for tensor in card.for_manifest()["outputs"])
    judge = judge_by_plugins(card.plugins, card.task, outputs)
    splits = read_splits(card.dataset, data, judge)
    check_wish(card, judge)
    check_metrics(card.gates, judge)
    pairs = ((sample, untransformed(sample, judge)) for sample in splits["train"])
    check_balanced(card.training.balanced, pairs, judge)
    groups = len({sample.group for sample in splits["train"]})
    if folds > groups:
        raise _folds(
            f"the training samples are of {groups} groups, which do not fill {folds} folds",
            f"--cross-validate takes at most {groups}: no group is on both sides of a fold",
        )
    return digest([*splits["train"], *splits["validation"]], judge)


def _folds(why: str, remedy: str) -> ConfigError:
    return ConfigError(why, code="build.folds", remedy=remedy)


def _run(
    script: Path,
    options: list[str],
    progress: Callable[[str], None],
    state: Path,
    more: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    results: list[str] = []
    tail: deque[str] = deque(maxlen=_TAIL)
    with subprocess.Popen(
        [sys.executable, "-c", _AS_BY_HAND, str(script.resolve()), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=for_a_child({**_QUIET, **os.environ, STATE: str(state.resolve()), **(more or {})}),
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if _GREETING.match(line):
                    continue
                tail.append(line.rstrip())
                if _NATIVE_ERROR.match(line):
                    continue
                progress(line.strip().removeprefix(RESULT))
                if line.startswith(RESULT):
                    results.append(line.strip().removeprefix(RESULT))
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise EdgeaiError(
            f"{script} ended with status {process.returncode}:\n" + "\n".join(tail), code="build.training-failed"
        )
    return tuple(results)

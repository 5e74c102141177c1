"""What a card's ``[choice]`` asks for: options of the task, chosen on samples that no weight was trained on.

Small data has none to spare. So train is split into folds that no group crosses, a model is trained without each, and
what all say of the fold that they never saw chooses the temperature and the thresholds of the one that ships, which is
trained on all of train. ``choice.json`` beside the card, and in the bundle, says what chose, on which samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from edgeai.api import ConfigError, EdgeaiError, Judge, OpenRequest, TaskRequest, Tensors, TensorSpec
from edgeai_workbench.card import CARD_NAME, Card, check_model, file_digest, read_card
from edgeai_workbench.choice_keys import FOLDS
from edgeai_workbench.chosen import CHOICE, Chosen, hold_choice, stale_choice, wanted_of
from edgeai_workbench.dataset import digest
from edgeai_workbench.folds import check_strata, gathered, named_strata
from edgeai_workbench.judges import judge_of
from edgeai_workbench.libraries import needed
from edgeai_workbench.notes import write_note
from edgeai_workbench.prepared import Prepared
from edgeai_workbench.variants import ModelFile
from edgeai_workbench.workshop import Workshop, open_workshop


class Chooser:
    """Chooses for one card, in two steps: what the folds say comes before the training of the model that ships.

    Args:
        card: with a ``[choice]``.
        folder: of the card.
        data: where its tables are.
        cross_validate: trains so many folds' models and writes what they say of the samples that they never saw
            (``folds.write``) into the file.

    Raises:
        ConfigError, DataRejected: as ``open_workshop``; ``data.fold-label``: a label that does not fill the folds.
    """

    def __init__(
        self,
        card: Card,
        folder: Path,
        data: Path,
        *,
        cross_validate: Callable[[int, Path], None],
        progress: Callable[[str], None],
    ) -> None:
        self._card, self._folder = card, folder
        choice = wanted_of(card)
        self._shop = open_workshop(card, folder, data, progress=progress)
        self._outputs: Sequence[Tensors] | None = None
        if choice.on == FOLDS:
            samples = _choosing(self._shop)
            strata, groups = named_strata(samples), [sample.group for sample in samples.samples]
            check_strata(strata, groups, choice.folds)
            progress(f"{choice.folds} folds, to choose {' and '.join(choice.options)}")
            with TemporaryDirectory(prefix="edgeai-folds-") as name:
                file = Path(name) / "answers.npz"
                cross_validate(choice.folds, file)
                self._outputs = gathered(file, groups, strata, choice.folds)
            _options(self._shop, self._outputs)  # what the folds cannot choose is said before the long training

    def finish(self) -> Chosen:
        """Choose for the model that is there now, and write it down: ``choice.json``, and the card's task options.

        Raises:
            ConfigError: ``config.card-choice``: the task cannot choose that.
            DataRejected: ``data.fold-few``: the samples do not determine it.
        """
        model = check_model(read_card(self._folder), self._folder)
        return _chosen(self._shop, model, self._outputs if self._outputs is not None else _answers(self._shop, model))


def choose_by_variant(shop: Workshop, model: ModelFile) -> tuple[Workshop, Chosen]:
    """The workshop with what the variant that ships chooses on validation, which is written down as ``Chooser`` does.

    A smaller network is sure of other things than its parent, so that a parent's temperature is not its own.

    Raises:
        ConfigError, DataRejected: as ``Chooser.finish``.
    """
    chosen = _chosen(shop, model.path, _answers(shop, model.path, model.added))
    return shop.with_card(read_card(shop.folder)), chosen


def check_wish(card: Card, judge: Judge) -> None:
    """Nothing, where the card's task can choose what ``[choice]`` asks for: asked before anything is trained.

    The judge is asked without a sample. What else it then says is of no use: that none is too few, or nothing.

    Raises:
        ConfigError: ``config.card-choice``.
    """
    if card.choice is None:
        return
    try:
        judge.choose((), (), card.choice.options)
    except ConfigError:
        raise
    except EdgeaiError:
        return


def _choosing(shop: Workshop) -> Prepared:
    """The samples that choose."""
    samples = shop.train if wanted_of(shop.card).on == FOLDS else shop.validation
    assert samples is not None
    return samples


def _chosen(shop: Workshop, model: Path, outputs: Sequence[Tensors]) -> Chosen:
    choice, samples = wanted_of(shop.card), _choosing(shop)
    chosen = Chosen(
        on=choice.on,
        folds=choice.folds if choice.on == FOLDS else 0,
        samples=len(samples),
        groups=len({sample.group for sample in samples.samples}),
        strata=dict(sorted(Counter(named_strata(samples)).items())),
        data=digest(samples.samples, shop.judge),
        variant=shop.card.chooser,
        model=file_digest(model),
        asked=choice.options,
        chosen=_options(shop, outputs),
    )
    _record(shop.folder / CARD_NAME, chosen.chosen)
    write_note(shop.folder / CHOICE, chosen)
    return chosen


def _options(shop: Workshop, outputs: Sequence[Tensors]) -> dict[str, Any]:
    card, choice = shop.card, wanted_of(shop.card)
    chosen = dict(shop.judge.choose(_choosing(shop).cases(), outputs, choice.options))
    if not chosen:
        raise ConfigError(
            f"task {card.task.name} chooses none of {', '.join(choice.options)}",
            code="config.card-choice",
            remedy="take [choice] out of the card; the task's README says what it can choose",
        )
    merged = msgspec.structs.replace(card.task, options={**card.task.options, **chosen})
    shop.registry.tasks[card.task.name].build(
        TaskRequest(options=merged.options, outputs=shop.outputs)
    )  # the task refuses what it cannot take before the card says it
    judge_of(shop.registry, merged, shop.outputs)
    return chosen


def _answers(shop: Workshop, model: Path, added: Sequence[TensorSpec] = ()) -> list[Tensors]:
    """What a ``.keras`` file says of each sample that chooses; not in outputs that were ``added`` to the card's."""
    samples = _choosing(shop)
    request = OpenRequest(artifact=model, device="CPU", inputs=shop.inputs, outputs=(*shop.outputs, *added))
    own = [spec.name for spec in shop.outputs]
    with closing(shop.registry.backends["keras"].open(request)) as session:
        inputs = samples.inputs
        asked = ({name: values[place : place + 1] for name, values in inputs.items()} for place in range(len(samples)))
        return [{name: given[name] for name in own} for given in map(session.run, asked)]


def hold_choice_of(shop: Workshop) -> None:
    """Nothing, where the samples that chose are those that there are.

    Raises:
        ConfigError: ``build.choice``; as ``hold_choice``.
    """
    chosen = hold_choice(shop.card, shop.folder)
    if chosen is None:
        return
    samples = shop.train if chosen.on == FOLDS else shop.validation
    if samples is not None and digest(samples.samples, shop.judge) != chosen.data:
        raise stale_choice(shop.card, f"{shop.card.name}: {CHOICE} was chosen on other samples than --data has")


def _record(card: Path, options: Mapping[str, Any]) -> None:
    """Write the options into ``[task.options]`` of a ``model.toml``; all else stays as it was written."""
    tomlkit = needed("tomlkit")
    document = tomlkit.parse(card.read_text(encoding="utf-8"))
    task = document["task"]
    if "options" not in task:
        task["options"] = tomlkit.inline_table() if isinstance(task, tomlkit.items.InlineTable) else tomlkit.table()
    for name, value in options.items():
        if isinstance(value, Mapping):
            table = tomlkit.inline_table()
            table.update(dict(value))
            task["options"][name] = table
        else:
            task["options"][name] = value
    card.write_text(tomlkit.dumps(document), encoding="utf-8")

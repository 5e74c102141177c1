"""``edgeai train CARD_FOLDER``: the weights of a card anew, and a record of what they were made with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeai.cli.given import given


def command(
    card_folder: Annotated[Path, typer.Argument(help="A folder with a model.toml and a train.py.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Where the card's [dataset] finds its tables. Required.", show_default=False),
    ] = None,
    cross_validate: Annotated[
        int,
        typer.Option("--cross-validate", metavar="K", min=0, help="Judge the recipe by K folds; nothing is written."),
    ] = 0,
    choose: Annotated[
        bool, typer.Option("--choose", help="Choose anew what the card's [choice] asks for; the weights stay.")
    ] = False,
) -> None:
    """Run a card's train.py on the data, and record in the card what came of it.

    The samples are checked first: a missing file, an unknown label, or a patient in training and in validation ends it
    before anything is trained. Then the script runs in a process of its own; it writes the .keras file and the golden
    cases. The digests of weights and samples, the versions of Python, Keras, TensorFlow and numpy, and the processor go
    into model.toml, whose comments stay. Where the card had weights, it says whether these are the same, byte by byte,
    and if not, what differs and how far the answers lie apart: another kind of processor gives other bytes.

    One that was interrupted goes on after its last finished epoch when it is called again (a script that trains by
    edgeai_keras.training.fit), unless card, script, samples, versions or processor are others; either is said.

    With --cross-validate, K models are trained, each judged on the groups that it never saw.

    Where the card has a [choice], options of its task (temperature, thresholds) are chosen by what models say of folds
    of train that they never saw, or by validation; they go into [task.options], and choice.json says what chose them.
    --choose does that alone.

    Exit status: 0 when trained; 2 when the card or the command cannot be used; 1 otherwise.
    """
    from edgeai.cli.progress import progress_line
    from edgeai_workbench.training import check_recipe, train
    from edgeai_workbench.training import choose as choose_again

    if not choose:
        check_recipe(card_folder)
    root = given(data, "--data", "a card is trained on its samples, so say where they are")
    if choose:
        with progress_line() as progress:
            told = choose_again(card_folder, root, progress=progress)
        typer.echo(told)
        return
    with progress_line() as progress:
        trained = train(card_folder, root, folds=cross_validate, progress=progress)
    if trained.resumed:
        typer.echo(trained.resumed)
    for line in trained.results:
        typer.echo(line)
    if trained.repeated:
        typer.echo(trained.repeated)
    if trained.chosen:
        typer.echo(trained.chosen)
    if not cross_validate:
        typer.echo(f"{trained.model}: {trained.model.stat().st_size} bytes, {trained.digest}")

"""``edgeai demo``: a broker, a cart and real files in one terminal, from C-STORE to what a subscriber receives."""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeai.cli.demo_stage import Stage
    from edgeai.cli.demo_table import DemoTable

RESULTS_TIMEOUT_S = 120.0
_QUIET_S = 0.5


def command(
    backend: Annotated[
        str, typer.Option(help="engine to run on: auto, or a backend's name as tflite, openvino")
    ] = "auto",
    bundle: Annotated[
        Path | None, typer.Option(help="the model; modality-guard of this checkout when absent", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("demo-output"),
    files: Annotated[
        list[Path] | None,
        typer.Option("--file", help="DICOM files of your own to send instead; may be given more than once"),
    ] = None,
) -> None:
    """Run a whole cart for a minute: DICOM arrives by C-STORE, a model runs, results leave over MQTT.

    Sends the real ultrasound, CT and MR files that ship inside pydicom, and a black image, which no model is asked
    about. Needs no network, no GPU and no service; everything that it starts ends with it. Exit status 0 when every
    instance had a result, none failed and none disagreed.
    """
    from rich.console import Console

    from edgeai.cli.demo_files import demo_files, find_bundle, no_probe
    from edgeai.cli.demo_stage import Stage
    from edgeai.cli.demo_table import DemoTable

    console = Console()
    paths = files or demo_files()
    model = find_bundle(bundle)
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeai-demo-")))
        if not files:
            paths = [*paths, no_probe(folder)]
        stage = stack.enter_context(Stage(folder, model, backend))
        console.print(f"broker [bold]{stage.broker_name}[/], cart ready after {time.monotonic() - started:.1f} s")
        console.print(f"sending {len(paths)} files by C-STORE to EDGEAI on port {stage.dicom_port}\n")
        table = DemoTable(console, paths)
        _run(stage, paths, table)
        pictures = table.draw(output)
    table.summarise(pictures, output, time.monotonic() - started)
    raise typer.Exit(0 if table.all_well else 1)


def _run(stage: Stage, paths: list[Path], table: DemoTable) -> None:
    """Send on one thread, show what arrives on this one, until every accepted instance has its result."""
    sender = threading.Thread(target=lambda: stage.send(paths, table.sent), daemon=True)
    with table.live():
        sender.start()
        end = time.monotonic() + RESULTS_TIMEOUT_S
        while time.monotonic() < end and not (table.is_complete and not sender.is_alive()):
            for result in stage.results(_QUIET_S):
                table.received(result)
    sender.join(timeout=5.0)

"""Three deployments of one image through a whole cart: what they do alike is done once."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.images import fastest_session, model_input
from benchmarks.material import write_xray, write_xray_jpeg
from benchmarks.networks import built
from benchmarks.timing import Row, milliseconds, summary
from edgeai.bundle.reader import open_bundle
from edgeai.cli.demo_stage import Stage

NETWORK: Final = "mobilenet"
BACKEND: Final = "tflite"
THREE: Final = ("one", "two", "three")
IMAGES: Final = 30
"""In a row: long enough that how it begins and ends does not count."""
KINDS: Final[dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]]] = {
    "uncompressed": (write_xray, ()),
    "JPEG 2000": (lambda path: write_xray(path, compressed=True), ("-xv",)),
    "JPEG": (write_xray_jpeg, ("-xy",)),
}


def together(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """Time an image with three deployments, against that with one and two bare engines more."""
    del bundle_path
    if shutil.which("storescu") is None:
        yield Row(case="three deployments of one image", ours="not measured", limit="storescu is not installed")
        return
    path = built(folder, NETWORK)
    bundle = open_bundle(path)
    session, tensors = fastest_session(bundle, BACKEND), model_input(bundle)
    with ExitStack() as stack:

        def stage(name: str, *deployments: str, spool: str = "") -> Stage:
            (where := folder / f"together-{name}").mkdir()
            return stack.enter_context(Stage(where, path, BACKEND, deployments=deployments, spool=spool))

        stages = {"alone": stage("one", THREE[0]), "shared": stage("three", *THREE)}
        stages["apart"] = stage("apart", *THREE, spool="max_shared_bytes = 0")
        for kind, (write, options) in KINDS.items():
            file = write(folder / f"together-{kind.replace(' ', '')}.dcm")
            taken: dict[str, list[float]] = {name: [] for name in (*stages, "engine")}
            for number in range(max(3, rounds // 5) + 1):
                took = {
                    name: _image_ms(cart, file, options, cart is not stages["alone"]) for name, cart in stages.items()
                }
                took["engine"] = statistics.median(milliseconds(lambda: session.run(tensors)) for _ in range(9))
                for name, ms in took.items() if number else ():
                    taken[name].append(ms)
            yield _row(kind, taken)
    session.close()


def _row(kind: str, taken: dict[str, list[float]]) -> Row:
    limits = [alone + 2 * engine for alone, engine in zip(taken["alone"], taken["engine"], strict=True)]
    summed = summary(taken["shared"], limits)
    apart = summary(taken["apart"], limits)
    return Row(
        case=f"three deployments, X-ray {kind}, {NETWORK}, {BACKEND}",
        ours=f"{summed.ours_ms:.1f} ms an image",
        limit=f"{summed.limit_ms:.1f} ms: a cart of one, two bare engines",
        ratio=summed.ratio,
        spread=summed.spread,
        notes=(f"with nothing shared {apart.ours_ms:.1f} ms: {apart.ratio:.2f} of the limit",),
    )


def _image_ms(stage: Stage, file: Path, options: tuple[str, ...], is_three: bool) -> float:
    """Milliseconds an image in a row, from the first result to the last."""
    wanted = IMAGES * (len(THREE) if is_three else 1)
    command = ["storescu", "+II", "--repeat", str(IMAGES), *options, "-aec", "EDGEAI", "127.0.0.1"]
    sender = subprocess.Popen([*command, str(stage.dicom_port), str(file)], stdout=subprocess.DEVNULL)
    at: list[float] = []
    while len(at) < wanted:
        results = list(stage.results(120.0))
        assert results, "no result came in two minutes"
        assert all(result["outcome"] == "completed" for result in results), results[0]["reason"]
        at += [time.perf_counter()] * len(results)
    assert sender.wait(60) == 0
    return (at[-1] - at[0]) * 1e3 / (IMAGES - 1)

"""Make the README's pictures and the example in ``reference/result.md`` anew, from a real run of the demo.

``python docs/images/make.py [BUNDLE]``, in the environment that ``make demo`` makes; ``python docs/images/make.py
fleet`` the picture of ``make demo-fleet``, in its.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pydicom
import rich.console
import typer
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from rich._export_format import CONSOLE_SVG_FORMAT

from edgeai.cli import demo, demo_table
from edgeai.cli.overlay import Overlays
from edgeai.model import open_model
from edgeai_workbench.drawings import head

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent.parent / "models"
RESULT_PAGE = HERE.parent / "reference/result.md"
EXAMPLE_UID = "1.3.6.1.4.1.5962.1.1.13.1.2.20040826185059.5457"
"""SOP Instance UID of ``examples_jpeg2k.dcm``."""
WIDTH = 104
COLOURS = 256
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", FONT
)
"""Rich's own, without fonts from the network."""

results: dict[str, dict[str, Any]] = {}
consoles: list[rich.console.Console] = []


class Recording(rich.console.Console):
    """A console that keeps what it prints. It is no terminal, so that a live table is printed once, whole."""

    def __init__(self, **options: Any) -> None:
        super().__init__(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor", **options)
        consoles.append(self)


class Keeping(demo_table.DemoTable):
    """The demo's table, which keeps the results too."""

    def received(self, result: dict[str, Any]) -> None:
        """Keep, then show."""
        results[result["instance"]["sop_instance_uid"]] = result
        super().received(result)


def draw_fleet() -> None:
    """Run the demo of a fleet, and write its picture if all was well."""
    from edgeai_fleet.commands import demo as of_fleet

    rich.console.Console = Recording  # type: ignore[misc]
    try:
        of_fleet.command("tflite", None)
    except typer.Exit as ended:
        if ended.exit_code:
            sys.exit("not all was well: nothing was written\n" + consoles[0].export_text())
    svg = consoles[0].export_svg(title="make demo-fleet", code_format=FORMAT, unique_id="fleet")
    (HERE / "fleet.svg").write_text(svg, encoding="utf-8")


def main() -> None:
    """Run the demo, and write pictures and example if all was well."""
    if sys.argv[1:] == ["fleet"]:
        draw_fleet()
        return
    rich.console.Console = Recording  # type: ignore[misc]
    demo_table.DemoTable = Keeping  # type: ignore[misc]
    bundle = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            demo.command("auto", bundle, Path("demo-output"), None)
        except typer.Exit as ended:
            if ended.exit_code:
                sys.exit("not all was well: nothing was written\n" + consoles[0].export_text())
        write(Path("demo-output/examples_ybr_color.png"), HERE / "ultrasound.png")
        draw_others(Path(folder))
    svg = consoles[0].export_svg(title="make demo", code_format=FORMAT, unique_id="demo")
    (HERE / "demo.svg").write_text(svg, encoding="utf-8")
    block = f"<!-- example -->\n```json\n{shown(results[EXAMPLE_UID])}\n```\n<!-- /example -->"
    page = RESULT_PAGE.read_text(encoding="utf-8")
    RESULT_PAGE.write_text(
        re.sub(r"<!-- example -->.*<!-- /example -->", lambda _: block, page, flags=re.DOTALL), encoding="utf-8"
    )


def draw_others(folder: Path) -> None:
    """What the demo has none of: a close call, an area, and an image that is not for the model."""
    guard, heads = (next((MODELS / name).glob("*.edgeai")) for name in ("modality-guard", "us-head"))
    phantom = folder / "phantom.dcm"
    write_phantom(phantom)
    overlays = Overlays(folder)
    for bundle, path, target in (
        (guard, sample("CT_small.dcm"), "doubtful.png"),
        (heads, phantom, "segment.png"),
        (heads, sample("examples_overlay.dcm"), "withheld.png"),
    ):
        with open_model(bundle) as model:
            model.run_file(path)  # the first run loads libraries; what it takes says nothing
            write(overlays.draw(path, model.run_file(path)), HERE / target)


def sample(name: str) -> Path:
    """A file that ships inside pydicom."""
    return Path(str(get_testdata_file(name, download=False)))


def write_phantom(path: Path) -> None:
    """A drawn head as an ultrasound image whose region says how large its pixels are."""
    pixels = head(1, rows=270, columns=400)
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType = 1, 1
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = pixels.shape[1] - 1, pixels.shape[0] - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.03
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    image.SOPInstanceUID = image.StudyInstanceUID = image.SeriesInstanceUID = "2.25.1"
    image.Modality = "US"
    image.SequenceOfUltrasoundRegions = [region]
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = pixels.tobytes()
    pydicom.dcmwrite(path, image, enforce_file_format=True)


def write(source: Path, target: Path) -> None:
    """A picture in few colours, so that the repository stays small."""
    picture = Image.open(source).convert("RGB")
    few = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(target, optimize=True)


def shown(value: Any, depth: int = 0) -> str:
    """JSON with a line for what is short."""
    flat = json.dumps(value)
    if not isinstance(value, dict | list) or not value or (depth and len(flat) + 2 * depth <= 132):
        return flat
    pad, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        inner = [f"{pad}{json.dumps(name)}: {shown(item, depth + 1)}" for name, item in value.items()]
        return "{\n" + ",\n".join(inner) + f"\n{end}}}"
    return "[\n" + ",\n".join(pad + shown(item, depth + 1) for item in value) + f"\n{end}]"


if __name__ == "__main__":
    main()

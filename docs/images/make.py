"""Make the README's pictures and the example in ``reference/result.md`` anew, from a real run of the demo.

``python docs/images/make.py [BUNDLE]``, in the environment that ``make demo`` makes.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import rich.console
import typer
from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT

from edgeai.cli import demo, demo_table

HERE = Path(__file__).resolve().parent
RESULT_PAGE = HERE.parent / "reference/result.md"
EXAMPLE_UID = "1.3.6.1.4.1.5962.1.1.13.1.2.20040826185059.5457"
"""SOP Instance UID of ``examples_jpeg2k.dcm``."""
PICTURES = {"examples_ybr_color.png": "ultrasound.png", "693_J2KI.png": "ct.png"}
WIDTH = 720
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
        super().__init__(record=True, width=110, file=io.StringIO(), color_system="truecolor", **options)
        consoles.append(self)


class Keeping(demo_table.DemoTable):
    """The demo's table, which keeps the results too."""

    def received(self, result: dict[str, Any]) -> None:
        """Keep, then show."""
        results[result["instance"]["sop_instance_uid"]] = result
        super().received(result)


def main() -> None:
    """Run the demo, and write pictures and example if all was well."""
    rich.console.Console = Recording  # type: ignore[misc]
    demo_table.DemoTable = Keeping  # type: ignore[misc]
    bundle = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "demo-output")
        try:
            demo.command("auto", bundle, pictures, None)
        except typer.Exit as ended:
            if ended.exit_code:
                sys.exit("not all was well: nothing was written\n" + consoles[0].export_text())
        for name, target in PICTURES.items():
            write_small(pictures / name, HERE / target)
        svg = consoles[0].export_svg(title="make demo", code_format=FORMAT, unique_id="demo")
    (HERE / "demo.svg").write_text(svg.replace(folder + "/", ""), encoding="utf-8")
    block = f"<!-- example -->\n```json\n{shown(results[EXAMPLE_UID])}\n```\n<!-- /example -->"
    page = RESULT_PAGE.read_text(encoding="utf-8")
    RESULT_PAGE.write_text(
        re.sub(r"<!-- example -->.*<!-- /example -->", lambda _: block, page, flags=re.DOTALL), encoding="utf-8"
    )


def write_small(source: Path, target: Path) -> None:
    """A picture as wide as the README shows it, in 128 colours."""
    image = Image.open(source).convert("RGB")
    small = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    small.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)


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

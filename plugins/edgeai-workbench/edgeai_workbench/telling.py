"""What a build tells, however it ends: report, evidence and verdicts of this very build, and none of an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeai.api import EdgeaiError
from edgeai.bundle.evidence import EVIDENCE_NAME, Evidence
from edgeai_workbench.card import SCRIPT
from edgeai_workbench.chosen import Chosen
from edgeai_workbench.comparison import Compared, Comparison, judged_digests
from edgeai_workbench.confirming import Confirmed
from edgeai_workbench.dataset import digest
from edgeai_workbench.evidence import evidence_of
from edgeai_workbench.gates import Verdict
from edgeai_workbench.judgement import BUNDLED_EVIDENCE, BUNDLED_REPORT, keep_judgement
from edgeai_workbench.openings import read_openings
from edgeai_workbench.pack import REPORT, Made
from edgeai_workbench.report import PAGE, write_report
from edgeai_workbench.report.drawing import drawn_of
from edgeai_workbench.report.pictures import pictures_of
from edgeai_workbench.report.words import failed
from edgeai_workbench.robustness import Robustness
from edgeai_workbench.stress.measuring import Measured
from edgeai_workbench.stress.pictures import drawings
from edgeai_workbench.workshop import Workshop

TOLD = (EVIDENCE_NAME, REPORT, PAGE, BUNDLED_REPORT, BUNDLED_EVIDENCE)
"""Files beside the card that say what one build found."""


def forget(folder: Path) -> None:
    """Take away what an earlier build told: from here on it would be believed of models that it never saw."""
    for name in TOLD:
        (folder / name).unlink(missing_ok=True)


@dataclass(slots=True, kw_only=True)
class Telling:
    """All that one build found so far.

    Attributes:
        shop: the card, with its samples.
        found: of everything that was made, on validation.
        comparison: the same, with what ships of it and every verdict.
        made: every artifact.
        left: artifacts that a first try leaves out, each with why.
        choice: what chose the options of the card's task.
    """

    shop: Workshop
    found: Compared
    comparison: Comparison
    made: Sequence[Made]
    left: Mapping[str, str] = field(default_factory=dict)
    choice: Chosen | None = None
    confirmed: Confirmed | None = None
    robustness: Robustness | None = None
    stress: Measured | None = None
    _told: Evidence | None = None

    @property
    def ships(self) -> list[Made]:
        """Of what was made, what goes into the bundle."""
        ids = {row.id for row in self.comparison.rows if row.ship}
        return [one for one in self.made if one.artifact.id in ids]

    def judge(self, with_verdicts: Callable[[Comparison], Comparison]) -> None:
        """Add verdicts to what was confirmed on the test, or else to what was found on validation."""
        if self.confirmed is None:
            self.comparison = with_verdicts(self.comparison)
        else:
            self.confirmed = replace(self.confirmed, comparison=with_verdicts(self.confirmed.comparison))

    def write(self, refused: str = "") -> None:
        """Report, evidence, and the verdicts that packing asks for.

        Raises:
            ConfigError: ``build.extra-missing``.
        """
        shop, folder = self.shop, self.shop.folder
        assert shop.validation is not None
        script = SCRIPT if shop.card.dataset is not None and (folder / SCRIPT).is_file() else ""
        evidence = evidence_of(
            shop.card,
            self.comparison,
            command=f"edgeai build {folder.resolve().name} --data DIR",
            confirmed=self.confirmed,
            openings=read_openings(folder),
            data=digest(shop.validation.samples, shop.judge),
            robustness=None if self.robustness is None else self.robustness.as_dict(),
            stress=None if self.stress is None else self.stress.stress.as_dict(),
            choice=self.choice,
            script=script,
            left_out=self.left,
            refused=refused,
        )
        strips = [drawn_of(one) for one in drawings(self.stress)] if self.stress is not None else []
        write_report(folder, shop.card, evidence, [*pictures_of(shop, self.found, evidence), *strips])
        verdicts = self.found.comparison.verdicts() | self.comparison.verdicts()
        verdicts |= {} if self.confirmed is None else self.confirmed.comparison.verdicts()
        if refused and shop.tested and self.confirmed is None:
            no = Verdict(gate="min_confirmed", bound=1, found=0, holds=False, says=refused)
            verdicts = {name: (*those, no) for name, those in verdicts.items()}
        keep_judgement(shop.card, folder, judged_digests(shop, self.made), verdicts)
        self._told = evidence

    def refuse(self, error: EdgeaiError) -> None:
        """There is no bundle, for a reason that the report does not have yet."""
        told = self._told
        if told is None or not (failed(told) or told.trials[0].constant):
            self.write(refused=str(error))

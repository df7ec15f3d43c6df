"""The examples of docs/commissioning.md are read as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from imrt_core.machine.scans import read_scans

DOCS = Path(__file__).resolve().parents[3] / "docs" / "commissioning.md"


def test_examples(tmp_path: Path) -> None:
    examples = re.findall(r"^```\n(.+?)^```", DOCS.read_text("utf-8"), flags=re.S | re.M)
    assert len(examples) == 7
    for number, text in enumerate(examples):
        (tmp_path / f"{number}.csv").write_text(text)
    found = read_scans(tmp_path)
    assert [scan.kind for scan in found.scans] == ["pdd", "crossline", "tpr", "tpr"]
    assert [scan.field_x_mm for scan in found.scans] == [100.0, 100.0, 40.0, 100.0]
    assert (len(found.output_factors), len(found.absolute_doses)) == (1, 3)
    assert found.absolute_doses[0].gy_per_mu == found.absolute_doses[2].gy_per_mu
    assert found.primary_fluence is not None
    assert (found.energy_mv, found.sad_mm) == (6.0, 1000.0)

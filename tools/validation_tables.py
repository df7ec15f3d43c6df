"""Fill the tables of docs/validation.md between its markers from benchmarks/results/*.json.

``<!-- table: NAME -->`` … ``<!-- end -->`` holds the table of ``benchmarks/results/NAME.json``; figures are never typed
by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tables_of_2d3d
import tables_of_anatomy
import tables_of_dose
import tables_of_plans
import tables_of_registration

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "validation.md"
_BLOCK = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "breathing": tables_of_anatomy.breathing,
    "breast": tables_of_dose.breast,
    "conformal": tables_of_plans.conformal,
    "daily": tables_of_plans.daily,
    "density": tables_of_anatomy.density,
    "propagation": tables_of_anatomy.propagation,
    "deformable_uncertainty": tables_of_anatomy.deformable_uncertainty,
    "eclipse_ent": tables_of_dose.eclipse_ent,
    "fluence": tables_of_plans.fluence,
    "influence": tables_of_dose.influence,
    "monaco": tables_of_dose.monaco,
    "monte_carlo": tables_of_dose.monte_carlo,
    "plans": tables_of_plans.plans,
    "pyradmc": tables_of_dose.pyradmc,
    "registration_cbct_head_neck": tables_of_registration.pair,
    "registration_cbct_pelvis": tables_of_registration.pair,
    "registration_cohort": tables_of_registration.cohort,
    "registration_deformable": tables_of_registration.pair,
    "registration_lung_4dct": tables_of_registration.pair,
    "registration_rigid": tables_of_registration.pair,
    "registration_2d3d": tables_of_2d3d.registration_2d3d,
    "tg119": tables_of_plans.tg119,
}


def filled(page: str) -> str:
    """Return the page with every table that has results."""

    def table(match: re.Match[str]) -> str:
        file = ROOT / "benchmarks" / "results" / f"{match['name']}.json"
        if not file.exists():
            return match[0]
        return f"{match[1]}{TABLES[match['name']](json.loads(file.read_text()))}{match[3]}"

    return _BLOCK.sub(table, page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
    sys.stdout.write(f"filled {PAGE.relative_to(ROOT)}\n")

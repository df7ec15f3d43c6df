"""The breast benchmark's densities from contours, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.breast import AIR, density_volume, read_case
from imrt_core.patient import Contour, InputRefusedError, Structure, StructureSet
from imrt_core.patient.contours import mask_from_structure


def box(name: str, half_mm: float, centre: tuple[float, float], **options: object) -> Structure:
    x, y = centre
    corners = [
        (x - half_mm, y - half_mm),
        (x + half_mm, y - half_mm),
        (x + half_mm, y + half_mm),
        (x - half_mm, y + half_mm),
    ]
    contours = tuple(Contour(np.array([(*c, z) for c in corners])) for z in np.arange(-15.0, 15.1, 3.0))
    return Structure(name, contours, **options)  # type: ignore[arg-type]


def test_densities_are_those_of_contours() -> None:
    structures = StructureSet(
        (
            box("BODY", 60.0, (0.0, 0.0), interpreted_type="EXTERNAL"),
            box("Lt Lung", 20.0, (30.0, 0.0)),
            box("Heart", 10.0, (-30.0, 0.0)),
            box("Scar", 6.0, (0.0, -40.0), relative_electron_density=0.6),
            Structure("Empty", ()),
        )
    )
    red, given = density_volume(structures)
    assert given == {"BODY": 1.0, "Lt Lung": 0.258, "Heart": 1.05, "Scar": 0.6}
    for point, density in (
        ((0.0, 0.0, 0.0), 1.0),
        ((30.0, 0.0, 0.0), 0.258),
        ((-30.0, 0.0, 3.0), 1.05),
        ((0.0, -40.0, -3.0), 0.6),
        ((0.0, -65.0, 0.0), AIR),
    ):
        assert float(red.sample(point, outside=0.0)) == pytest.approx(density, abs=1e-5)
    # The patient goes on at both ends: no half-filled slices of air there.
    assert red.grid.spacing_mm[2] == 3.0
    assert red.array[0].max() == red.array[-1].max() == pytest.approx(1.05)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError, match="EXTERNAL"):
        density_volume(StructureSet((box("Lt Lung", 20.0, (0.0, 0.0)),)))
    with pytest.raises(InputRefusedError, match="one RTPLAN is needed"):
        read_case(tmp_path)


@pytest.mark.shared_data
def test_the_real_case_is_read(shared_data: Path) -> None:
    case = read_case(shared_data / "dicom_breast_imrt")
    assert [beam.nominal_energy_mv for beam in case.plan.beams] == [10.0, 6.0, 6.0, 10.0]
    assert case.plan.fractions_planned == 7
    red, given = density_volume(case.structures)
    assert given["Lt Lung"] == 0.258 and given["Scar"] == 0.6
    for name, density in (("Lt Lung", 0.258), ("Breast", 1.0)):
        whole = mask_from_structure(case.structures[name], red.grid).array > 0.999
        # Neighbours share a few voxels.
        assert np.median(red.array[whole]) == pytest.approx(density, abs=1e-4)
    assert red.array[:, 0].max() == pytest.approx(AIR, abs=1e-6)

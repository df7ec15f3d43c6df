"""One call from image and structures to densities: order, overrides, what is air, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imrt_core.density import DensityOverride, density_of, overrides_of
from imrt_core.dicom import read_structures, write_structures
from imrt_core.machine import Couch, CouchLayer, DensityCurve, load_machine
from imrt_core.patient import Grid, MachineError, Structure, StructureError, StructureSet, Volume
from imrt_core.patient.contours import structure_from_mask
from tests.dicom.objects import image, structures

CURVE = load_machine("generic_6mv").density_curve()
GRID = Grid((20, 60, 70), (3.0, 3.0, 3.0), (-103.5, -88.5, 0.0))
X, Y, Z = np.moveaxis(GRID.voxel_centres_lps(), -1, 0)
BODY = (X / 75) ** 2 + (Y / 55) ** 2 < 1
BOLUS = ~BODY & ((X / 84) ** 2 + (Y / 64) ** 2 < 1) & (Y < -30)
PLATE = (Y > 57) & (Y < 69) & (np.abs(X) < 60)
COUCH = Couch("test", (CouchLayer("top", 20.0, 0.2, 0.2),), width_mm=120.0)


def drawn(mask: np.ndarray, name: str, kind: str, **more: float) -> Structure:
    made = structure_from_mask(Volume(mask.astype(np.float32), GRID), name=name, interpreted_type=kind)
    return replace(made, **more)  # type: ignore[arg-type]


def hu() -> Volume:
    array = np.where(BODY, 20.0, -1000.0)
    array[PLATE] = 120.0
    return Volume(array.astype(np.float32), GRID)


EXTERNAL = drawn(BODY, "External", "EXTERNAL")


def test_outside_external_supports_and_bolus_is_air() -> None:
    """The plate is the CT's table where nobody drew it, and stays where it was drawn as a support."""
    bare = density_of(hu(), StructureSet((EXTERNAL,)), CURVE)
    np.testing.assert_allclose(bare.red.array[PLATE], 0.0012)
    assert bare.warnings == () and not bare.external_contoured
    kept = density_of(hu(), StructureSet((EXTERNAL, drawn(PLATE, "Plate", "SUPPORT"))), CURVE)
    assert kept.red.array[PLATE].mean() > 0.9
    image_with_bolus = hu().with_array(np.where(BOLUS, 0.0, hu().array).astype(np.float32))
    with_bolus = density_of(image_with_bolus, StructureSet((EXTERNAL, drawn(BOLUS, "Bolus", "BOLUS"))), CURVE)
    assert with_bolus.red.array[BOLUS].mean() > 0.9


def test_a_bolus_that_is_not_in_the_image() -> None:
    """It needs a density of its own; without one that is said."""
    said = density_of(hu(), StructureSet((EXTERNAL, drawn(BOLUS, "Bolus", "BOLUS"))), CURVE).warnings
    assert any("Bolus" in w and "does nothing" in w for w in said)
    given = drawn(BOLUS, "Bolus", "BOLUS", relative_electron_density=1.0)
    result = density_of(hu(), StructureSet((EXTERNAL, given)), CURVE)
    inside = BOLUS & np.roll(BOLUS, 1, axis=1) & np.roll(BOLUS, -1, axis=1)
    np.testing.assert_allclose(result.red.array[inside], 1.0)
    assert len(result.warnings) == 1 and "overridden (RTSTRUCT)" in result.warnings[0]


def test_a_missing_external_is_contoured_and_said() -> None:
    result = density_of(hu(), StructureSet(()), CURVE)
    assert result.external_contoured and "igrt" in result.external.description
    assert any("External was not contoured" in w and "unreviewed" in w for w in result.warnings)
    solid = result.red.array > 0.9
    assert 2 * np.count_nonzero(solid & BODY) / (np.count_nonzero(solid) + np.count_nonzero(BODY)) > 0.99


def test_overrides_the_last_wins_and_each_is_reported() -> None:
    core = drawn(np.hypot(X, Y) < 20, "Contrast", "ORGAN", relative_electron_density=1.05)
    given = StructureSet((EXTERNAL, core))
    (from_file,) = overrides_of(given, CURVE)
    assert (from_file.relative_electron_density, from_file.source) == (1.05, "RTSTRUCT")
    assert from_file.mass_density == pytest.approx(1.066, abs=0.002)  # along the curve
    later = DensityOverride("Contrast", 1.0, 1.0, "protocol")
    result = density_of(hu(), given, CURVE, overrides=(later,))
    np.testing.assert_allclose(result.red.array[np.hypot(X, Y) < 17], 1.0)
    assert [w.split(":")[0] for w in result.warnings] == [
        "density of Contrast overridden (RTSTRUCT)",
        "density of Contrast overridden (protocol)",
    ]
    assert "the image gave 1.0" in result.warnings[0]
    with pytest.raises(StructureError, match="no structure 'Nothing'"):
        density_of(hu(), given, CURVE, overrides=(replace(later, structure="Nothing"),))
    with pytest.raises(MachineError, match="negative"):
        DensityOverride("x", -1.0, 1.0)
    with pytest.raises(MachineError, match="needs a density"):
        DensityOverride.of("x", CURVE)


def test_physical_properties_survive_a_file(tmp_path: Path) -> None:
    """ROI Physical Properties and the description of an ROI, written and read."""
    ct = image()
    target, empty = structures(ct)
    made = replace(
        structures(ct),
        structures=(
            replace(target, relative_electron_density=1.02, relative_mass_density=1.03, description="Made here"),
            replace(empty, relative_mass_density=0.5),
        ),
    )
    found = read_structures(write_structures(made, image=ct, path=tmp_path / "rs.dcm"))
    for name in ("relative_electron_density", "relative_mass_density", "description"):
        assert [getattr(s, name) for s in found] == [getattr(s, name) for s in made]


def test_hu_without_density_is_named_with_its_place() -> None:
    short = DensityCurve("short", ((-1000.0, 0.0012, 0.0012), (0.0, 1.0, 1.0), (1000.0, 1.5, 1.6)))
    array = np.array(hu().array)
    array[5, 30, 35] = 1725.0
    with pytest.raises(MachineError, match="beyond the curve") as caught:
        density_of(hu().with_array(array), StructureSet((EXTERNAL,)), short)
    assert caught.value.code == "no-density"
    assert "1725 HU at LPS (1.5, 1.5, 15.0) mm" in caught.value.found
    assert "short" in caught.value.expected
    for value, name in ((np.nan, "NaN"), (np.inf, "infinite")):
        array[5, 30, 35] = value
        with pytest.raises(MachineError, match=name) as caught:
            density_of(hu().with_array(array), StructureSet((EXTERNAL,)), CURVE)
        assert "LPS (1.5, 1.5, 15.0)" in caught.value.found


def test_a_little_above_the_curve_is_counted() -> None:
    array = np.array(hu().array)
    array[5, 30, 35] = 3100.0  # one voxel: a speck, no piece of metal
    (line,) = density_of(hu().with_array(array), StructureSet((EXTERNAL,)), CURVE).warnings
    assert line.startswith("1 voxels above the density curve") and "3100 HU at LPS (1.5, 1.5, 15.0)" in line


def test_couch_of_the_machine() -> None:
    """Inserted under EXTERNAL and said; not where the position is unknown; not twice where a support stands there."""
    inserted = density_of(hu(), StructureSet((EXTERNAL,)), CURVE, couch=COUCH, patient_position="HFS")
    assert any("couch test inserted under EXTERNAL: 20 mm thick, 4.0 mm of water" in w for w in inserted.warnings)
    assert np.count_nonzero(np.isclose(inserted.red.array, 0.2, atol=1e-3)) > 1000
    unknown = density_of(hu(), StructureSet((EXTERNAL,)), CURVE, couch=COUCH)
    assert any("position is unknown" in w for w in unknown.warnings)
    drawn_couch = drawn(PLATE, "CouchSurface", "SUPPORT", relative_electron_density=0.3)
    twice = density_of(hu(), StructureSet((EXTERNAL, drawn_couch)), CURVE, couch=COUCH, patient_position="HFS")
    assert any("CouchSurface (SUPPORT) stands there" in w for w in twice.warnings)
    assert not np.any(np.isclose(twice.red.array, 0.2, atol=1e-3))


def test_mass_and_electron_density_lie_on_one_grid() -> None:
    result = density_of(hu(), StructureSet((EXTERNAL,)), CURVE, couch=COUCH, patient_position="FFP")
    assert result.red.grid == result.mass.grid
    np.testing.assert_allclose(
        result.mass.resampled_to(GRID, order=0).array[BODY & (np.abs(X) < 60)], 1.0244, atol=0.01
    )

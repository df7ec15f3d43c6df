"""Fit a beam model to measurements in water.

The measurements are tissue-phantom ratios TPR(d, F) and output factors OF(F) of square fields at the isocentre, and
the primary off-axis fluence. At the isocentre OF(F)·TPR(d, F) is the dose on the axis, so with Gaussian kernel
components the model is linear in its amplitudes::

    OF(F)·TPR(d, F) ∝ Σ_k A_k(d)·I_k(F),   I_k(F) = ∫∫_F fluence(u, v) G(σ_k; u, v) du dv

The widths come from a derivative-free search, each trial solving for non-negative amplitudes depth by depth [1]_;
the amplitudes then come from one non-negative least-squares problem over all depths with a curvature penalty.
Collimator scatter is part of the widest component: the model cannot tell it from phantom scatter.

References
----------
.. [1] Lawson CL, Hanson RJ. Solving Least Squares Problems. SIAM 1995 (non-negative least squares).
.. [2] Bortfeld T, Schlegel W, Rhein B. Decomposition of pencil beam kernels for fast dose calculations in
   three-dimensional treatment planning. Med Phys 20 (1993) 311-318.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import minimize, minimize_scalar, nnls
from scipy.special import erf, erfinv

from imrt_core.patient import MachineError

from . import declared
from .beam_model import BeamModel, Calibration, CommissionedRange, Residuals
from .files import write_machine
from .machine import Machine
from .tank_data import TankData, read_artiste

Array = NDArray[np.float64]

#: Depth up to which electron contamination rules; residuals are told apart there.
BUILDUP_MM = 15.0
#: First guess of total component widths on the isocentre plane, mm.
_FIRST_WIDTHS_MM = (2.3, 6.0, 25.0, 90.0)
_BUILDUP_WEIGHT = 0.3
_OUTPUT_FACTOR_WEIGHT = 4.0
_CURVATURE_MM2 = 3.0


def axis_integrals(data_radius_mm: Array, data_fluence: Array, field_mm: Array, width_mm: Array) -> Array:
    """Return I_k(F): normalised Gaussians × primary fluence over square fields, shape (fields, widths)."""
    nodes, weights = np.polynomial.legendre.leggauss(48)
    result = np.empty((len(field_mm), len(width_mm)))
    for row, side in enumerate(field_mm):
        for column, width in enumerate(width_mm):
            # Substitute the Gaussian's own cumulative distribution: nodes lie where the integrand is.
            half = erf(side / (2 * np.sqrt(2) * width))
            x = np.sqrt(2) * width * erfinv(nodes * half)
            fluence = np.interp(np.hypot(x[:, None], x[None, :]), data_radius_mm, data_fluence, right=0.0)
            result[row, column] = (weights @ fluence @ weights) * (half / 2) ** 2
    return result


def fit_beam_model(
    data: TankData,
    *,
    name: str,
    version: str,
    source_sigma_mm: float = 1.5,
    calibration: Calibration | None = None,
    provenance: str = "",
) -> BeamModel:
    """Fit kernel widths and amplitudes, and scale them to the declared calibration.

    Parameters
    ----------
    data : TankData
        Measurements.
    name, version : str
        Of the model.
    source_sigma_mm : float
        Declared blur by the source on the isocentre plane. Output factors of small fields fix only the total width
        of the narrowest component, ``hypot(source_sigma_mm, w_1)``; how much of it is source needs profiles.
    calibration : Calibration or None
        Meaning of one MU.
    provenance : str
        Goes into the model.
    """
    dose = data.tpr * PchipInterpolator(data.of_field_mm, data.output_factor)(data.field_mm)

    def integrals(field_mm: Array, widths: Array) -> Array:
        return axis_integrals(data.fluence_radius_mm, data.fluence, field_mm, widths)

    def misfit(log_widths: Array) -> float:
        widths = np.exp(log_widths)
        residual = _independent_fit(data, dose, integrals(data.field_mm, widths), integrals(data.of_field_mm, widths))
        return float(np.sqrt(np.mean(residual**2)) + 0.3 * np.abs(residual).max())

    search = minimize(
        misfit, np.log(_FIRST_WIDTHS_MM), method="Nelder-Mead", options={"maxfev": 300, "xatol": 5e-3, "fatol": 1e-6}
    )
    widths = np.sort(np.exp(search.x))
    if widths[0] <= source_sigma_mm:
        raise MachineError(
            "the declared source is larger than the measured field edge allows",
            found=f"{source_sigma_mm} mm",
            expected=f"below {widths[0]:.2f} mm",
        )
    on_tpr, on_of = integrals(data.field_mm, widths), integrals(data.of_field_mm, widths)
    amplitude = _smooth_fit(data, dose, on_tpr, on_of)
    reference = int(np.argmin(np.abs(data.depth_mm - data.reference_depth_mm)))
    axis_dose = amplitude @ on_tpr.T
    difference = 100 * (axis_dose / axis_dose[reference] / data.tpr - 1)
    factor = 100 * (amplitude[reference] @ on_of.T / data.output_factor - 1)
    deep = data.depth_mm > BUILDUP_MM
    model = BeamModel(
        name=name,
        version=version,
        nominal_energy_mv=data.energy_mv,
        source_sigma_mm=source_sigma_mm,
        kernel_width_mm=tuple(_rounded(np.sqrt(widths**2 - source_sigma_mm**2))),
        depth_mm=tuple(_rounded(data.depth_mm)),
        amplitude_gy_per_mu=tuple(tuple(float(v) for v in row) for row in amplitude),
        fluence_radius_mm=tuple(_rounded(data.fluence_radius_mm)),
        fluence=tuple(_rounded(data.fluence)),
        sad_mm=data.sad_mm,
        mlc_transmission=declared.MLC_TRANSMISSION,
        jaw_transmission=declared.JAW_TRANSMISSION,
        commissioned=CommissionedRange(
            field_mm=(float(data.of_field_mm[0]), float(data.of_field_mm[-1])),
            depth_mm=(0.0, float(data.depth_mm[-1])),
            off_axis_mm=float(data.fluence_radius_mm[data.fluence >= 0.5].max()),
        ),
        calibration=calibration or Calibration(),
        residuals=Residuals(
            pdd_percent=round(float(np.abs(difference[deep]).max()), 3),
            buildup_percent=round(float(np.abs(difference[~deep]).max()), 3),
            output_factor_percent=round(float(np.abs(factor).max()), 3),
        ),
        provenance=provenance or data.source,
    )
    return calibrated(model)


def _independent_fit(data: TankData, dose: Array, on_tpr: Array, on_of: Array) -> Array:
    residuals = []
    for row, depth in enumerate(data.depth_mm):
        if depth <= BUILDUP_MM:
            continue
        matrix, target = on_tpr / dose[row][:, None], np.ones(dose.shape[1])
        if depth == data.reference_depth_mm:
            matrix = np.vstack([matrix, _OUTPUT_FACTOR_WEIGHT * on_of / data.output_factor[:, None]])
            target = np.append(target, np.full(len(data.output_factor), _OUTPUT_FACTOR_WEIGHT))
        solution, _ = nnls(matrix, target)
        residuals.append(matrix @ solution - target)
    return np.concatenate(residuals)


def _smooth_fit(data: TankData, dose: Array, on_tpr: Array, on_of: Array) -> Array:
    depth, terms = data.depth_mm, on_tpr.shape[1]
    count = len(depth)
    rows: list[Array] = []
    targets: list[Array] = []

    def add(index: int, block: Array, weight: float) -> None:
        wide = np.zeros((len(block), count, terms))
        wide[:, index] = block * weight
        rows.append(wide.reshape(len(block), -1))
        targets.append(np.full(len(block), weight))

    for row in range(count):
        add(row, on_tpr / dose[row][:, None], _BUILDUP_WEIGHT if depth[row] <= BUILDUP_MM else 1.0)
    reference = int(np.argmin(np.abs(depth - data.reference_depth_mm)))
    add(reference, on_of / data.output_factor[:, None], _OUTPUT_FACTOR_WEIGHT)
    for row in range(1, count - 1):
        before, after = depth[row] - depth[row - 1], depth[row + 1] - depth[row]
        stencil = np.array([2 / before / (before + after), -2 / before / after, 2 / after / (before + after)])
        # In the build-up the dose itself is curved: hold it there a twentieth as stiff.
        stiffness = _CURVATURE_MM2 * (0.05 if depth[row] <= BUILDUP_MM + 5 else 1.0)
        for term in range(terms):
            curvature = np.zeros((1, count, terms))
            curvature[0, row - 1 : row + 2, term] = stencil * stiffness
            rows.append(curvature.reshape(1, -1))
            targets.append(np.zeros(1))
    solution, _ = nnls(np.vstack(rows), np.concatenate(targets), maxiter=50 * count * terms)
    return np.asarray(solution).reshape(count, terms)


def calibrated(model: BeamModel) -> BeamModel:
    """Scale the amplitudes so that the declared calibration holds at the depth of maximum."""
    want = model.calibration

    def axis_dose(depth_mm: float) -> float:
        distance = want.ssd_mm + depth_mm
        widths = model.widths_mm(model.sad_mm / distance)
        # The field is defined on the isocentre plane; so are the widths.
        radius, fluence = np.asarray(model.fluence_radius_mm), np.asarray(model.fluence)
        integral = axis_integrals(radius, fluence, np.array([want.field_mm * model.sad_mm / want.ssd_mm]), widths)[0]
        return float((model.sad_mm / distance) ** 2 * (model.amplitudes(depth_mm) @ integral))

    depths = np.arange(1.0, 60.0)
    coarse = float(depths[int(np.argmax([axis_dose(d) for d in depths]))])
    fine = minimize_scalar(lambda d: -axis_dose(d), bounds=(coarse - 1, coarse + 1), method="bounded")
    factor = want.dose_gy_per_mu / -float(fine.fun)
    rows = tuple(tuple(float(f"{v * factor:.6g}") for v in row) for row in model.amplitude_gy_per_mu)
    return replace(model, amplitude_gy_per_mu=rows)


def _rounded(values: Any) -> list[float]:
    return [float(f"{v:.7g}") for v in np.asarray(values, dtype=float)]


def commission(folder: Path, out: Path, *, name: str, version: str = "1.0") -> Machine:
    """Fit a machine file to a folder of scans (this version reads the layout of ``beam_artiste6mv``).

    Parameters
    ----------
    folder : Path
        Scans.
    out : Path
        TOML to write.
    name, version : str
        Of the machine and its model.

    Returns
    -------
    Machine
        As written.
    """
    data = read_artiste(folder)
    provenance = (
        f"Composite: fitted by imrt_core.machine.commission to {data.source}. Declared, not measured: calibration"
        " (1 cGy/MU at the depth of maximum, 10x10 cm, SSD 100 cm), source size, leaf and jaw transmission, machine"
        " limits, density curves. Research model of no one machine."
    )
    model = fit_beam_model(data, name=name, version=version, provenance=provenance)
    machine = Machine(
        name=name,
        version=version,
        description="Generic 6 MV C-arm linac with a 120-leaf collimator. Research software, not a medical device.",
        model=model,
        mlc=declared.millennium_120(),
        limits=declared.limits(),
        table=declared.table(),
        imagers=declared.imagers(),
        density_curves=declared.density_curves(),
    )
    write_machine(machine, out)
    return machine


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fit a machine file to a folder of scans.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", required=True)
    options = parser.parse_args()
    print(commission(options.folder, options.out, name=options.name).model.residuals)

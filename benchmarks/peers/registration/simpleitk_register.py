"""Run in a process of its own: one registration by SimpleITK's own filters. Imports nothing of ours.

``python simpleitk_register.py FOLDER METHOD --threads 2`` with METHOD rigid, demons or bspline; called by
:mod:`benchmarks.registration_tools`. FOLDER holds fixed.mha, moving.mha, fixed_mask.mha, moving_mask.mha and start.tfm;
field.mha and figures.json are written there.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import SimpleITK as sitk  # noqa: N813


def rigid(fixed: Any, moving: Any, masks: tuple[Any, Any], start: Any) -> Any:
    """Mattes mutual information, three resolutions, 5 % of the voxels, regular steps."""
    euler = sitk.Euler3DTransform()
    euler.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()]))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=50)
    method.SetMetricFixedMask(masks[0])
    method.SetMetricMovingMask(masks[1])
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.05, seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMovingInitialTransform(start)
    method.SetInitialTransform(euler, inPlace=True)
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.Execute(fixed, moving)
    return sitk.CompositeTransform([start, euler])


def demons(fixed: Any, moving: Any, masks: tuple[Any, Any], start: Any) -> Any:
    """Fast symmetric forces, four resolutions, after histogram matching."""
    del masks
    placed = sitk.Resample(moving, fixed, start, sitk.sitkLinear, -1000.0)
    placed = sitk.HistogramMatching(placed, fixed, 256, 10, True)
    field = None
    for shrink, iterations in ((8, 80), (4, 60), (2, 40), (1, 20)):
        sigma = 0.4 * shrink if shrink > 1 else 0.0
        step = [min(shrink, max(1, n // 16)) for n in fixed.GetSize()]
        images = [
            sitk.SmoothingRecursiveGaussian(i, sigma * i.GetSpacing()[0]) if sigma else i for i in (fixed, placed)
        ]
        small = [sitk.Shrink(image, step) for image in images]
        method = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        method.SetNumberOfIterations(iterations)
        method.SetSmoothDisplacementField(True)
        method.SetStandardDeviations(1.5)
        if field is None:
            field = method.Execute(small[0], small[1])
        else:
            field = method.Execute(
                small[0], small[1], sitk.Resample(field, small[0], sitk.Transform(), sitk.sitkLinear)
            )
    return sitk.CompositeTransform([start, sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))])


def bspline(fixed: Any, moving: Any, masks: tuple[Any, Any], start: Any) -> Any:
    """Mattes mutual information, B-splines of about 25 mm at the end, three resolutions, L-BFGS-B."""
    size = [max(2, round(n * s / 100)) for n, s in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)]
    transform = sitk.BSplineTransformInitializer(fixed, size)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=50)
    method.SetMetricFixedMask(masks[0])
    method.SetMetricMovingMask(masks[1])
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1, seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMovingInitialTransform(start)
    method.SetInitialTransformAsBSpline(transform, inPlace=True, scaleFactors=[1, 2, 4])
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetOptimizerAsLBFGS2(solutionAccuracy=1e-4, numberOfIterations=60)
    method.Execute(fixed, moving)
    return sitk.CompositeTransform([start, transform])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("method", choices=["rigid", "demons", "bspline"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(options.threads)
    folder: Path = options.folder
    fixed, moving = (sitk.ReadImage(str(folder / f"{n}.mha"), sitk.sitkFloat32) for n in ("fixed", "moving"))
    masks = tuple(sitk.ReadImage(str(folder / f"{n}_mask.mha"), sitk.sitkUInt8) for n in ("fixed", "moving"))
    start = sitk.ReadTransform(str(folder / "start.tfm"))
    began, cpu = time.perf_counter(), time.process_time()
    method = {"rigid": rigid, "demons": demons, "bspline": bspline}[options.method]
    found = method(fixed, moving, (masks[0], masks[1]), start)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    to_field = sitk.TransformToDisplacementFieldFilter()
    to_field.SetReferenceImage(fixed)
    to_field.SetOutputPixelType(sitk.sitkVectorFloat32)
    sitk.WriteImage(to_field.Execute(found), str(folder / "field.mha"), True)
    version = sitk.Version.VersionString()
    (folder / "figures.json").write_text(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "version": version}))


if __name__ == "__main__":
    main()

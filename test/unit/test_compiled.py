"""Compiled loops compute what NumPy does, and nothing is compiled once frames come."""

import math
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fields import camera, field_of, matrix_of, rough_depth
from test_alignment import WALL_DEPTH, aligned, image_pair
from test_blur_spectrum import GRID, blurred, rotation
from test_limits import Panning
from test_two_view import NETWORK, REST, SECONDS, SENSOR, SIDEWAYS, WALKING, scene

from image_as_imu_ros import Frame, MotionEstimator, Shutter
from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.alignment.epipolar import epipolar_pose
from image_as_imu_ros.estimation.alignment.jackknife import parts_of, widened_by_parts
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import Shape
from image_as_imu_ros.estimation.alignment.slides import find_slide
from image_as_imu_ros.estimation.alignment.two_view import two_view
from image_as_imu_ros.estimation.blur_cells import Cells
from image_as_imu_ros.estimation.blur_refinement import refine
from image_as_imu_ros.estimation.blur_solver import Uncertainty, solve
from image_as_imu_ros.estimation.blur_spectrum import BlurSpectra
from image_as_imu_ros.estimation.travel import Travel

ROOT = Path(__file__).resolve().parents[2]
needs_numba = pytest.mark.skipif(not compiled.loops("two_view"), reason="no Numba")


# A map that a long baseline has corrected, here and there better.
CORRECTED = Shape(1.0, np.linspace(0.2, 0.4, 150), 16.0, np.linalg.cholesky(0.05 * np.eye(5) + 0.02))


@contextmanager
def numpy_alone():
    loops, compiled._loops = compiled._loops, {}
    try:
        yield
    finally:
        compiled._loops = loops


def both(compute):
    """Compute with loops, and with NumPy."""
    by_loops = compute()
    with numpy_alone():
        return by_loops, compute()


def same(one, other, within=1e-6):
    np.testing.assert_allclose(one, other, rtol=within, atol=within * np.abs(other).max())


@needs_numba
@pytest.mark.parametrize("shape", [NETWORK, SENSOR, CORRECTED])
@pytest.mark.parametrize("common_std", [0.0, 0.05, math.inf])
@pytest.mark.parametrize("seed", range(4))
def test_two_views_are_solved_alike(seed, common_std, shape):
    tracks, depth = scene(WALKING if seed % 2 else SIDEWAYS, seed=seed, outliers=0.1 * seed, rough=0.3)
    starts = Poses.concatenated([REST, epipolar_pose(tracks, 1 / depth)])
    loop, numpy = both(lambda: two_view(tracks, 1 / depth, starts, shape, 3.0 * SECONDS, common_std=common_std))
    same(loop.motion, numpy.motion)
    same(loop.covariance, numpy.covariance)
    assert loop.share == pytest.approx(numpy.share, abs=1e-6)


@needs_numba
@pytest.mark.parametrize("seed", range(4))
def test_parts_are_left_out_alike(seed):
    """Also of points in columns or all equally far, of equations in single precision, and where what is left of them is
    not positive definite, as rounding may have it.
    """
    random = np.random.default_rng(seed)
    rows, weights = random.normal(size=(14, 300)), random.uniform(0, 1, 300)
    errors, places = random.normal(size=300) * (1 + 3 * (random.uniform(size=300) > 0.7)), random.normal(size=(300, 3))
    places[:, 0], places[:, 2] = 1.0, np.round(places[:, 2])
    errors[places[:, 1] > 0.5] += 2 * rows[0, places[:, 1] > 0.5]
    normal = np.eye(14) + (rows * weights) @ rows.T
    covariance = 0.1 * np.linalg.inv(normal)[:6, :6]
    for one in (normal, normal.astype(np.float32), normal - 90 * np.eye(14)):
        loop, numpy = both(lambda one=one: widened_by_parts(covariance, one, rows, weights, errors, parts_of(places.T)))
        assert np.linalg.det(numpy) > 2 * np.linalg.det(covariance)
        same(loop, numpy)


@needs_numba
@pytest.mark.parametrize("motion", [np.zeros(6), SIDEWAYS, WALKING], ids=["rest", "sideways", "walking"])
@pytest.mark.parametrize("count", [30, 81])
def test_slides_are_found_alike(motion, count):
    tracks, depth = scene(motion, seed=count, count=count, noise=0.2, outliers=0.1, rough=0.3)
    loop, numpy = both(lambda: find_slide(tracks, 1 / depth))
    same(loop.motion, numpy.motion)
    same(loop.covariance, numpy.covariance)
    assert loop.std == pytest.approx(numpy.std, abs=1e-6)


@needs_numba
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("motion_model", "measured"), [("full", False), ("full", True), ("rotation", False)])
def test_a_blur_is_solved_alike(seed, motion_model, measured):
    random = np.random.default_rng(seed)
    matrix, depth = matrix_of(camera(250.0)), rough_depth(random)
    field = field_of(matrix, random.normal(size=6) * [0.5, 0.5, 0.5, 1.5, 1.5, 1.5], 0.02, depth)
    noise = random.normal(0, 0.8, field.axial_flow.shape)
    field = replace(field, axial_flow=field.axial_flow + noise, sigma=np.full_like(field.sigma, 0.8))
    options = {"motion_model": motion_model, "depth": depth if measured else None}
    uncertainty = Uncertainty(Travel(0.5, 0.0))
    loop, numpy = both(lambda: solve(field, matrix, 0.02, uncertainty=uncertainty, **options))
    same(loop.velocity.vector, numpy.velocity.vector)
    same(loop.velocity.covariance, numpy.velocity.covariance)
    assert (loop.residual, loop.inliers) == pytest.approx((numpy.residual, numpy.inliers), abs=1e-6)


@needs_numba
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("prior_std", [0.02, 0.1, 0.5])
def test_so_is_one_that_no_motion_explains_and_whose_steps_are_halved(seed, prior_std):
    random = np.random.default_rng(seed)
    sigma, error = np.full((2, 60), 0.8), random.uniform(0.5, 2, (2, 60))
    cells = Cells(random.normal(0, 5, (2, 60)), sigma, error, random.normal(0, 1, (2, 3, 60)))
    start = random.normal(0, 5, 3)
    loop, numpy = both(lambda: refine(cells, np.full(3, prior_std), start))
    same(loop.motion, numpy.motion)
    same(loop.information, numpy.information)
    assert (loop.residual, loop.inliers) == pytest.approx((numpy.residual, numpy.inliers), abs=1e-6)


@needs_numba
@pytest.mark.parametrize("angular", [(0.01, 0.03, 0.02), (-0.03, 0.01, 0.0), (0.0, 0.02, -0.06)])
def test_spectra_are_refined_alike(angular):
    spectra = BlurSpectra.of(blurred(rotation(*angular)), GRID, None)
    prior = np.diag([0.01, 0.01, 0.01]) ** 2
    loop, numpy = both(lambda: spectra.refine(1.2 * np.array(angular), prior))
    np.testing.assert_allclose(loop.motion, numpy.motion, atol=1e-6)
    assert loop.log_likelihood_ratio == pytest.approx(numpy.log_likelihood_ratio, abs=1e-3)
    same(loop.covariance, numpy.covariance, 1e-5)


@needs_numba
def test_windows_of_an_image_are_alike():
    image = blurred(rotation(0.01, 0.03, 0.02))
    loop, numpy = both(lambda: BlurSpectra.of(image, GRID, None))
    np.testing.assert_allclose(loop.log_power, numpy.log_power, atol=1e-3)
    np.testing.assert_array_equal(loop.weights, numpy.weights)


@needs_numba
@pytest.mark.parametrize("seed", range(4))
def test_rotations_are_aligned_alike(seed):
    """To 1e-6 rad. Intensities are in single precision: a step about as long as the limit may be the last or not."""
    angular = np.random.default_rng(seed).normal(0, 1.2, 3)
    images, start = image_pair(rotation(*angular), seed), 1.4 * rotation(*angular)
    loop, numpy = both(lambda: aligned(*images, start))
    assert not loop.rejection
    assert not numpy.rejection
    assert np.abs(loop.velocity.angular - numpy.velocity.angular).max() / 30 < 2e-6
    assert loop.similarity == pytest.approx(numpy.similarity, abs=1e-5)


@needs_numba
@pytest.mark.parametrize("seed", range(4))
def test_motions_are_aligned_alike(seed):
    """To a tenth of their standard deviation: where translation and rotation look alike, rounding is magnified."""
    random = np.random.default_rng(seed)
    velocity = np.concatenate([random.normal(0, 0.3, 3), random.normal(0, 1.2, 3)])
    images, options = image_pair(velocity, seed), {"depth": WALL_DEPTH, "motion_model": "full", "depth_log_std": 0.3}
    loop, numpy = both(lambda: aligned(*images, 1.4 * velocity, **options))
    std = np.sqrt(np.diag(numpy.velocity.covariance))
    assert (np.abs(loop.velocity.vector - numpy.velocity.vector) < 0.1 * std).all()


@needs_numba
def test_nothing_is_compiled_while_frames_come():
    from numba.core import event

    estimator, random = MotionEstimator(Panning()), np.random.default_rng(0)
    with event.install_recorder("numba:compile") as recorder:
        for number in range(4):
            image = random.integers(0, 256, (224, 320), np.uint8)
            assert estimator.update(Frame(image, 1 + number * 33_000_000, camera(), Shutter(0.01)))
    assert not recorder.buffer


@needs_numba
def test_loops_are_kept_for_the_next_process():
    """The second process finds them where the first has put them."""
    program = "from numba.core import event\nwith event.install_recorder('numba:compile') as r:\n"
    program += "    from image_as_imu_ros.estimation import compiled\n    print(compiled.load(), len(r.buffer))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "compiled by Numba" in done.stdout
    assert done.stdout.split()[-1] == "0"


@needs_numba
def test_processes_of_their_own_fill_the_cache(tmp_path, monkeypatch):
    (tmp_path / "one_loop.py").write_text(
        "import numba\n@numba.njit('f8(f8)', cache=True)\ndef f(x):\n    return 2 * x"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(compiled, "_modules", lambda: {"one": "one_loop", "none": "a_module_that_is_not_there"})
    folder, former, other = (tmp_path / "cache" / name for name in ("here_now", "here_before", "elsewhere_now"))
    for each in (folder, former, other):
        each.mkdir(parents=True)
    compiled._compile(folder)
    assert list(folder.rglob("one_loop.f-*.nbc"))
    assert other.exists()
    assert not former.exists()


@pytest.mark.parametrize("changed", ["two_view_loop.py", "small_matrices.py", "loop_constants.py"])
def test_each_installation_and_each_version_of_it_has_a_cache_of_its_own(changed, tmp_path, monkeypatch):
    """Numba takes a file by its path and time: in another's cache it would find nothing, and compile one by one."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "caches"))
    for installation in ("one", "other"):
        shutil.copytree(compiled._HERE, tmp_path / installation)

    def cache_of(installation, seconds):
        (path,) = (tmp_path / installation).rglob(changed)
        os.utime(path, (seconds, seconds))
        monkeypatch.setattr(compiled, "_HERE", tmp_path / installation)
        return compiled._cache()

    folders = [cache_of("one", 1), cache_of("one", 1), cache_of("one", 2), cache_of("other", 1)]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3
    assert len({folder.name.rpartition("_")[0] for folder in folders}) == 2


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("no", name="numba"), ImportError("Numba needs NumPy 2.3"), OSError()]
)
def test_without_a_numba_that_works_numpy_does_it(error, monkeypatch):
    def import_module(name):
        raise error

    monkeypatch.setattr(compiled, "_loops", None)
    monkeypatch.setattr(compiled, "_report", "")
    monkeypatch.setattr(compiled, "import_module", import_module)
    assert "NumPy" in compiled.load()
    assert compiled.loops("two_view") is None

"""What moves with the camera and is masked takes no part: not in blur, spectra, alignment or tracks."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_as_imu_ros import EstimatorConfig, Frame, InputError, MotionEstimator, Shutter
from image_as_imu_ros.estimation.blur_windows import WindowGrid
from image_as_imu_ros.estimation.constants import SPECTRUM
from image_as_imu_ros.estimation.scene_mask import read_mask, scene_cells
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.view import View
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

CAMERA = Camera(640, 480, 500, 500, 319.5, 239.5)
STRIDE = 8
WIDE, NARROW = View.of(CAMERA, 320, 224), View.of(Camera(640, 360, 500, 500, 319.5, 179.5), 320, 224)


def cells_hidden(mask: np.ndarray, view: View) -> np.ndarray:
    """(h, w): the middle of one of the cell's pixels is hidden."""
    rows, columns = np.mgrid[:224, :320]
    x, y = np.rint(view.to_source(np.stack([columns, rows], -1))).astype(int).transpose(2, 0, 1)
    hidden = ~mask[y.clip(0, mask.shape[0] - 1), x.clip(0, mask.shape[1] - 1)]
    return hidden.reshape(28, STRIDE, 40, STRIDE).any((1, 3))


def within(cells: np.ndarray) -> np.ndarray:
    """These cells and their neighbours."""
    return cv2.dilate(cells.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


@pytest.mark.parametrize("view", [WIDE, NARROW], ids=["cut above and below", "cut at the sides"])
@given(left=st.integers(0, 600), top=st.integers(0, 400), width=st.integers(1, 300), height=st.integers(1, 300))
def test_a_cell_that_sees_anything_hidden_is_hidden_with_its_neighbours(view, left, top, width, height):
    mask = np.ones((view.source.height, view.source.width), bool)
    mask[top : top + height, left : left + width] = False
    cells = scene_cells(mask, view, STRIDE)
    assert not (cells & within(cells_hidden(mask, view))).any()
    larger = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0  # pixels that are seen in part
    assert (cells | within(cells_hidden(larger, view))).all()


def test_without_a_mask_all_cells_see_the_scene():
    assert scene_cells(None, WIDE, STRIDE).all()


@pytest.mark.parametrize("shrink", [1, 2])
def test_windows_see_nothing_but_the_scene(shrink):
    scene = np.ones((28, 40), bool)
    scene[20:] = False
    scene[:, 36:] = False
    grid = WindowGrid.of(WIDE.camera, STRIDE, shrink, scene)
    assert 0 < len(grid.corners) < len(WindowGrid.of(WIDE.camera, STRIDE, shrink).corners)
    bottom, right = shrink * (grid.corners + SPECTRUM.window).max(0)
    assert bottom <= 20 * STRIDE
    assert right <= 36 * STRIDE
    assert len(WindowGrid.of(WIDE.camera, STRIDE, shrink, np.zeros_like(scene)).corners) == 0


def written(path, mask: np.ndarray) -> str:
    cv2.imwrite(str(path), 255 * mask.astype(np.uint8))
    return str(path)


def test_a_mask_that_cannot_be_used_says_why(tmp_path, tiny_model):
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(InputError, match=r"text\.png cannot be read"):
        read_mask(tmp_path / "text.png")
    with pytest.raises(InputError, match=r"none\.png is not there"):
        read_mask(tmp_path / "none.png")
    with pytest.raises(InputError, match="all black"):
        read_mask(written(tmp_path / "black.png", np.zeros((480, 640))))
    small = EstimatorConfig(mask=written(tmp_path / "small.png", np.ones((100, 200))))
    estimator = MotionEstimator.from_model(tiny_model, small)
    with pytest.raises(InputError, match="mask is 200×100 px but the images are 640×480"):
        estimator.update(Frame(np.zeros((480, 640), np.uint8), 1, CAMERA, Shutter(0.01)))
    beside = np.ones((480, 640), bool)
    beside[16:464] = False  # the network sees less than that
    with pytest.raises(InputError, match="leaves nothing"):
        scene_cells(beside, WIDE, STRIDE)


PARTS = {
    "an arm from the left": (slice(100, 480), slice(0, 200)),
    "a bonnet": (slice(340, 480), slice(0, 640)),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_masked_part_of_the_camera_changes_little(part, desk_rpy_3s, tmp_path):
    """Real frames with a still, textured part in front: as without it where it is masked, and not where it is not."""
    mask = np.ones((480, 640), bool)
    mask[PARTS[part]] = False
    noise = np.random.default_rng(0).uniform(0, 255, (480, 640)).astype(np.float32)
    still = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    with_mask = EstimatorConfig(mask=written(tmp_path / "mask.png", mask))
    estimators = [MotionEstimator.from_model(resource(DEFAULT_MODEL), one) for one in (None, with_mask, None)]
    rates = []
    with Recording(desk_rpy_3s) as recording:
        for message in list(recording.frames("/camera/image_raw/compressed", "/camera/camera_info"))[:30]:
            clean = message.decode_image("gray")
            images = clean, np.where(mask, clean, still), np.where(mask, clean, still)
            estimates = [
                estimator.update(Frame(image, message.stamp, message.camera(), Shutter(0.0184)))
                for estimator, image in zip(estimators, images, strict=True)
            ]
            if all(estimate is not None and estimate.measurement == "aligned" for estimate in estimates):
                rates.append([estimate.velocity.angular for estimate in estimates])
    clean, masked, unmasked = np.array(rates).transpose(1, 0, 2)
    rms = np.sqrt(np.square(clean).sum(1).mean())
    assert len(rates) > 20
    assert np.sqrt(np.square(masked - clean).sum(1).mean()) < 0.1 * rms
    assert np.sqrt(np.square(masked - clean).sum(1).mean()) < np.sqrt(np.square(unmasked - clean).sum(1).mean())

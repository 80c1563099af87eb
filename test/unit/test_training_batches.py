"""Batches of training: what lies on the device is what was rendered, and a schedule may end with the clock."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.checkpoint import Checkpoint
from image_as_imu_training.datasets import shards
from image_as_imu_training.samples import Samples
from image_as_imu_training.training import train
from image_as_imu_training.training.data import (
    RenderedSamples,
    StepSampler,
    batches,
    motion_field_matrices,
    motion_field_matrix,
)
from image_as_imu_training.training.settings import read_settings

HEIGHT, WIDTH, STRIDE = 64, 96, 8


@pytest.fixture
def written(tmp_path) -> Samples:
    """Samples in shards in a folder `part`."""
    rng, count = np.random.default_rng(0), 7
    samples = Samples(
        rng.integers(0, 256, (count, HEIGHT, WIDTH), np.uint8),
        rng.normal(0, 10, (count, 2, HEIGHT // STRIDE, WIDTH // STRIDE)).astype(np.float16),
        rng.uniform(0.5, 8, (count, HEIGHT // STRIDE, WIDTH // STRIDE)).astype(np.float16),
        rng.random((count, HEIGHT // STRIDE, WIDTH // STRIDE)) < 0.2,
        rng.normal([200, 50, 30], 20, (count, 3)).astype(np.float32),
        rng.normal(0, 0.1, (count, 6)).astype(np.float32),
        rng.random(count) < 0.5,
    )
    (tmp_path / "part").mkdir()
    shards.write(shards.shard_path(tmp_path / "part", 0), samples, ["invented"] * count)
    return samples


def test_batches_are_the_rendered_samples_that_were_drawn(written, tmp_path):
    dataset = RenderedSamples(tmp_path / "part", STRIDE)
    sampler = StepSampler(dataset.weights(), 3, 5, 8, 0, 0)
    drawn = list(sampler)
    assert len({tuple(chosen) for chosen in drawn}) == 3
    for chosen, batch in zip(drawn, batches(dataset, sampler, 0), strict=True):
        expected = written[np.array(chosen)]
        np.testing.assert_array_equal(batch["image"], expected.image[:, None])
        np.testing.assert_array_equal(batch["flow"], expected.flow.astype(np.float32))
        np.testing.assert_array_equal(batch["depth"], expected.depth[:, None].astype(np.float32))
        np.testing.assert_array_equal(batch["depth_known"], expected.depth_known)
        np.testing.assert_array_equal(batch["motion"], expected.motion)
        assert [batch[name].dtype for name in ("image", "flow", "depth")] == [torch.uint8, torch.float32, torch.float32]
    for name, values in vars(dataset.first(4)).items():
        np.testing.assert_array_equal(values, getattr(written, name)[:4])
    lengths = np.hypot(*written.flow.astype(np.float32).swapaxes(0, 1)).mean((1, 2))
    np.testing.assert_allclose(dataset.weights(), 1 / (40 + lengths), rtol=1e-6)


def test_motion_field_matrices_of_a_batch_are_those_of_the_runtime(written):
    camera = torch.from_numpy(written.camera)
    found = motion_field_matrices(camera, HEIGHT // STRIDE, WIDTH // STRIDE, STRIDE)
    for matrix, (focal, cx, cy) in zip(found, camera.tolist(), strict=True):
        expected = motion_field_matrix(Camera(WIDTH, HEIGHT, focal, focal, cx, cy), STRIDE)
        np.testing.assert_allclose(matrix, expected, rtol=1e-6, atol=1e-5)


def test_a_schedule_of_minutes_ends_with_the_clock_and_goes_on_where_it_was(written, tmp_path, monkeypatch):
    """The clock is 10 s later at every look."""
    now, rates = [1000.0], []

    def monotonic() -> float:
        now[0] += 10
        return now[0]

    def noted(progress: float, peak: float) -> float:
        rates.append(1 - progress)
        return peak * rates[-1]

    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(train, "learning_rate", noted)
    common = [f"data={tmp_path}", "part=part", f"checkpoint={tmp_path / 'run'}", "precision=no", "batch=2", "window=64"]
    common += ["log=none", "validation.data=null", "learning_rate=1.0e-6", "steps=1000"]
    settings = read_settings([*common, "minutes=3"])
    assert train.train(settings) == 0
    first = Checkpoint.load(tmp_path / "run").state
    assert first["step"] < 18
    assert 180 <= first["seconds"] <= 200
    assert rates[0] == 1
    assert 0 < rates[-1] < 0.2
    assert train.train(settings) == 0
    assert Checkpoint.load(tmp_path / "run").state == first
    assert train.train(read_settings([*common, "minutes=6"])) == 0
    state = Checkpoint.load(tmp_path / "run").state
    assert first["step"] < state["step"] < 36
    assert 360 <= state["seconds"] <= 380

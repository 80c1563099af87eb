"""Recorded motions become paths over an exposure: what trajectories and gyroscopes did, and nothing that reverses."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry import so3
from image_as_imu_training.datasets.carrier_motion import load_motions
from image_as_imu_training.rendering.motion import KNOTS

RATE = 200.0  # Hz
TIMES = np.arange(400) / RATE


def generator():
    return torch.Generator().manual_seed(0)


def write(folder, name: str, **columns: np.ndarray) -> None:
    table = np.stack([1e9 * TIMES, *columns.values()], 1)
    np.savetxt(folder / f"{name}.csv", table, "%.9f", ",", header=",".join(["t_ns", *columns]), comments="")


def write_poses(folder, rotation_vectors: np.ndarray, position: np.ndarray) -> None:
    quaternion = so3.quaternion_from_matrix(so3.exp(rotation_vectors))
    names = ("px", "py", "pz", "qw", "qx", "qy", "qz")
    write(folder, "poses", **dict(zip(names, np.concatenate([position, quaternion], 1).T, strict=True)))


def test_a_trajectory_is_seen_from_the_camera_in_its_middle(tmp_path):
    """A camera that looks along the world's x axis, rolls at 1 rad/s and moves along that axis at 2 m/s."""
    looks = so3.exp(np.array([0, np.pi / 2, 0]))
    rolls = looks @ so3.exp(TIMES[:, None] * np.array([0.0, 0.0, 1.0]))
    write_poses(tmp_path, so3.log(rolls), TIMES[:, None] * np.array([2.0, 0, 0]))
    paths = load_motions(tmp_path).draw(20, generator())
    assert paths.shape == (20, KNOTS, 6)
    assert not paths[:, KNOTS // 2].any()
    seconds = (paths[:, -1] - paths[:, 0])[:, 2]
    assert 0.01 <= seconds.min() < seconds.max() <= 0.07
    torch.testing.assert_close(paths[:, -1] - paths[:, 0], seconds[:, None] * torch.tensor([0, 0, 1.0, 0, 0, 2]))


def test_a_gyroscope_rotates_a_camera_that_sits_beside_it(tmp_path):
    angular = np.array([0.0, 0.0, 3.0]) * np.ones((len(TIMES), 1))
    write(tmp_path, "imu", wx=angular[:, 0], wy=angular[:, 1], wz=angular[:, 2])
    paths = load_motions(tmp_path).draw(50, generator())
    rotation, position = (paths[:, -1] - paths[:, 0]).split(3, 1)
    about = rotation.abs().argmax(1)
    assert set(about.tolist()) == {0, 1, 2}  # who knows how it is mounted
    assert 3 * 0.01 <= rotation.norm(dim=1).min() < rotation.norm(dim=1).max() <= 3 * 0.07
    assert 0 < position.norm(dim=1).max() < 0.07 * 3 * 0.2 * 3**0.5


def test_what_stands_or_trembles_on_the_spot_is_no_motion(tmp_path):
    tremor = 0.01 * np.sin(2 * np.pi * 90 * TIMES)[:, None] * np.ones(3)
    write_poses(tmp_path, tremor, np.zeros((len(TIMES), 3)))
    with pytest.raises(InputError, match="poses: none of 1000 random pieces moves"):
        load_motions(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no recorded motions"),
        ("", "has the columns ; expected t_ns and"),
        ("t_ns,wx,wy\n0,1,2\n", "has the columns t_ns, wx, wy; expected t_ns and"),
        ("t_ns,wx,wy,wz\n0,1,2,north\n", "is not a table of numbers"),
    ],
)
def test_other_files_are_refused_in_plain_words(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        load_motions(tmp_path)


def gyroscope(times: np.ndarray = TIMES, size: float = 1.0) -> np.ndarray:
    return np.column_stack([1e9 * times, size * np.sin(3 * times), size * np.cos(2 * times), size * np.sin(times)])


def poses(quaternion: float) -> np.ndarray:
    return np.column_stack(
        [1e9 * TIMES, TIMES, 0 * TIMES, 0 * TIMES, *np.full((1, len(TIMES)), quaternion), *np.zeros((3, 400))]
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (gyroscope()[:1], "a.csv: it has 1 samples, expected 5 or more"),
        (gyroscope()[:0], "a.csv: it has 0 samples, expected 5 or more"),
        (np.where(np.arange(400)[:, None] == 7, np.nan, gyroscope()), "a number of sample 8 is not finite"),
        (gyroscope()[::-1], "t_ns does not increase after sample 1; sort"),
        (gyroscope(TIMES // 0.01 * 0.01), "t_ns does not increase after sample"),
        (gyroscope(size=180 / np.pi), "are they °/s?"),
        (gyroscope(size=0), "none of 1000 random pieces moves"),
        (poses(0.0), "the quaternion of sample 1 has norm 0.00, expected 1"),
    ],
)
def test_what_cannot_have_been_recorded_so_is_said_before_anything_is_rendered(tmp_path, table, message):
    names = "t_ns,wx,wy,wz" if table.shape[1] == 4 else "t_ns,px,py,pz,qw,qx,qy,qz"
    np.savetxt(tmp_path / "a.csv", table, delimiter=",", header=names, comments="")
    with pytest.raises(InputError, match=re.escape(message)):
        load_motions(tmp_path)


def test_a_table_as_spreadsheets_write_it_is_read(tmp_path):
    lines = [", ".join(map(repr, row)) for row in gyroscope().tolist()]
    (tmp_path / "a.csv").write_text("\n".join(["t_ns, wx, wy, wz", *lines]) + "\n", encoding="utf-8-sig")
    assert load_motions(tmp_path).draw(2, generator()).isfinite().all()

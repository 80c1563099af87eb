"""Baselines answer the motion that images were made with, say why they cannot, and are not run twice."""

import dataclasses
import json
import sys
import types
from pathlib import Path

import baseline_scenes as scenes
import cv2
import numpy as np
import pytest
import replay_bags as bags
from hypothesis import given, settings
from hypothesis import strategies as st

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation import open_engine
from image_as_imu_ros.evaluation.baselines import (
    cache,
    colmap,
    droid,
    find_baseline,
    hloc,
    klt,
    mast3r,
    motion,
    trajectory,
)
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.pinhole import undistorted_images
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import cell_centres
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.recordings.topics import Topics

TOPICS = Topics("/camera/image_raw/compressed", "/camera/camera_info")
PANORAMA = [(5.0, 20.0, 1)]  # one plane that fills the view
SECONDS = scenes.INTERVAL * 1e-9


def rotation(vector) -> np.ndarray:
    return cv2.Rodrigues(np.asarray(vector, float))[0]


def path_of(angular, linear, count: int, start=(0, 0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """Poses (count, 3, 3) and (count, 3) of a camera with a constant velocity in its own axes."""
    rotations, positions = [np.eye(3)], [np.array(start, float)]
    for _ in range(count - 1):
        halfway = rotations[-1] @ rotation(np.multiply(angular, SECONDS / 2))
        positions.append(positions[-1] + halfway @ np.multiply(linear, SECONDS))
        rotations.append(rotations[-1] @ rotation(np.multiply(angular, SECONDS)))
    return np.array(rotations), np.array(positions)


def publish(monkeypatch, name: str, **content) -> None:
    """Put a module where an import will find it."""
    module = types.ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


class TestKlt:
    @pytest.mark.parametrize("angular", [(0.3, -0.8, 0.0), (0.0, 0.5, 1.5), (-1.0, 0.0, -0.4)])
    def test_a_rotating_camera_is_measured_to_a_hundredth(self, angular):
        rotations, positions = path_of(angular, (0, 0, 0), 3)
        images = [scenes.view_of(r, p, PANORAMA) for r, p in zip(rotations, positions, strict=True)]
        found = klt.run(scenes.FramesInMemory(images), klt.Settings())
        assert np.isnan(found.angular[0]).all(), "there is no frame before the first one"
        assert found.angular[1:] == pytest.approx(np.array([angular] * 2), abs=0.01)
        assert np.isnan(found.linear).all(), "two views tell no length"
        assert not found.failures

    def test_parallax_calls_for_the_essential_matrix(self):
        """A translation that a rotation alone would swallow."""
        rng = np.random.default_rng(0)
        points = np.column_stack([rng.uniform(-1, 1, (300, 2)) * 3, rng.uniform(2, 8, 300)])
        rotated, moved = rotation((0.01, -0.03, 0.02)), np.array([0.2, 0.05, 0])
        later = (points - moved) @ rotated
        before, now = (scenes.CAMERA.project(p[:, :2] / p[:, 2:]) for p in (points, later))
        found = klt.fit_rotation(scenes.CAMERA, before, now, klt.Settings())
        assert np.linalg.norm(cv2.Rodrigues(found @ rotated)[0]) < 1e-3

    def test_a_third_of_wrong_tracks_does_no_harm(self):
        rng = np.random.default_rng(1)
        before = rng.uniform((20, 20), (300, 220), (150, 2))
        rotated = rotation((0.02, -0.03, 0.05))
        rays = cv2.convertPointsToHomogeneous(scenes.CAMERA.rays(before))[:, 0] @ rotated
        now = scenes.CAMERA.project(rays[:, :2] / rays[:, 2:])
        now[::3] += rng.uniform(-40, 40, (50, 2))
        found = klt.fit_rotation(scenes.CAMERA, before, now, klt.Settings())
        assert np.linalg.norm(cv2.Rodrigues(found @ rotated)[0]) < 1e-3

    def test_frames_without_an_answer_are_counted_with_their_reason(self):
        uniform = np.full((scenes.CAMERA.height, scenes.CAMERA.width), 90, np.uint8)
        seen = scenes.view_of(np.eye(3), np.zeros(3), PANORAMA)
        found = klt.run(scenes.FramesInMemory([seen, seen, uniform, None, seen]), klt.Settings())
        assert list(found.answered) == [False, True, False, False, False]
        assert found.failures == {
            "fewer than 15 corners could be tracked": 1,
            "image cannot be decoded": 2,
        }


class TestPoses:
    @given(st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(-2, 2)] * 3))
    @settings(max_examples=50, deadline=None)
    def test_a_constant_velocity_is_found_in_the_cameras_own_axes(self, angular, linear):
        world = rotation((0.4, -1.0, 2.0))
        rotations, positions = path_of(angular, linear, 6)
        poses = motion.Poses(world @ rotations, positions @ world.T + (3, 4, 5), np.zeros(6, int))
        stamps = scenes.FIRST_STAMP + scenes.INTERVAL * np.arange(6)
        found = motion.motion_of_poses(stamps, poses, 0.0, "missing")
        assert found.angular[1:] == pytest.approx(np.array([angular] * 5), abs=1e-4)
        assert found.linear[1:] == pytest.approx(np.array([linear] * 5), abs=1e-5)  # Rodrigues near zero

    def test_every_piece_gets_its_own_scale(self):
        rng = np.random.default_rng(0)
        ground_truth = rng.normal(size=(9, 3))
        piece = np.array([motion.NO_PIECE, 0, 0, 0, motion.NO_PIECE, 1, 1, 1, 1])
        unknown = np.where(piece[:, None] == motion.NO_PIECE, np.nan, 0.0)
        shrunk = ground_truth / np.where(piece == 0, 5.0, 0.25)[:, None] + unknown
        scaled, scales = motion.with_scale(motion.Motion(unknown + 1, shrunk, piece, 0.0), ground_truth)
        assert scales == pytest.approx([5.0, 0.25])
        assert scaled.linear[piece >= 0] == pytest.approx(ground_truth[piece >= 0])

    def test_a_scale_that_would_reverse_the_motion_is_none(self):
        ground_truth = np.ones((3, 3))
        reversed_motion = motion.Motion(ground_truth, -ground_truth, np.zeros(3, int), 0.0)
        scaled, scales = motion.with_scale(reversed_motion, ground_truth)
        assert scales == []
        assert np.isnan(scaled.linear).all()

    def test_lost_frames_and_new_pieces_are_counted(self):
        rotations, positions = path_of((0, 1, 0), (1, 0, 0), 6)
        piece = np.array([0, 0, motion.NO_PIECE, 0, 1, 1])
        found = motion.motion_of_poses(np.arange(6) * 10**7, motion.Poses(rotations, positions, piece), 0.0, "lost")
        assert list(found.answered) == [False, True, False, False, False, True]
        assert found.failures == {"lost": 1, "frame before: lost": 1, "another piece of the trajectory starts": 1}


class TestTrajectoryFiles:
    STAMPS = scenes.FIRST_STAMP + scenes.INTERVAL * np.arange(8)
    ANGULAR, LINEAR = (0.5, -1.0, 0.3), (0.2, 0.1, -0.4)

    def write(self, path, layout: str, stamps=STAMPS):
        """The same path in one of the three formats; quaternions from rotation vectors."""
        rotations, positions = path_of(self.ANGULAR, self.LINEAR, len(stamps))
        vectors = np.array([cv2.Rodrigues(r)[0][:, 0] for r in rotations])
        angles = np.linalg.norm(vectors, axis=1, keepdims=True)
        xyz, w = np.sinc(angles / 2 / np.pi) * vectors / 2, np.cos(angles / 2)
        lines = ["# a comment"]
        for i, stamp in enumerate(stamps):
            if layout == "tum":
                lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} " + _text(positions[i], xyz[i], w[i]))
            elif layout == "kitti":
                lines.append(_text(np.column_stack([rotations[i], positions[i]]).ravel()))
            else:
                lines.append(f"{stamp}," + _text(positions[i], w[i], xyz[i], [9, 9]).replace(" ", ","))
        path.write_text("\n".join(lines) + "\n")
        return path

    @pytest.mark.parametrize("layout", ["tum", "kitti", "euroc"])
    def test_the_motion_comes_back_from_each_format(self, tmp_path, layout):
        poses = trajectory.read_trajectory(self.write(tmp_path / "path.txt", layout))
        found = trajectory.run(scenes.FramesInMemory([None] * 8), poses)
        # Seconds since 1970 in float64 are good to some 0.2 µs.
        assert found.angular[1:] == pytest.approx(np.array([self.ANGULAR] * 7), abs=1e-4)
        assert found.linear[1:] == pytest.approx(np.array([self.LINEAR] * 7), abs=1e-4)

    def test_poses_beside_the_frames_are_interpolated(self, tmp_path):
        """A path at 100 Hz, 4 ms off the frames, of a camera that moves at 2 m/s and rotates at 1 rad/s."""
        file = tmp_path / "path.txt"
        stamps = scenes.FIRST_STAMP - 6_000_000 + 10_000_000 * np.arange(60)
        seconds = 1e-9 * (stamps - stamps[0])
        quaternions = np.column_stack([np.cos(seconds / 2), 0 * seconds, np.sin(seconds / 2), 0 * seconds])
        rows = ([int(stamp), 2 * t, 0, 0, *q] for stamp, t, q in zip(stamps, seconds, quaternions, strict=True))
        file.write_text("\n".join(",".join(map(str, row)) for row in rows))
        poses = trajectory.poses_at(trajectory.read_trajectory(file), self.STAMPS)
        expected = 1e-9 * (self.STAMPS - stamps[0])
        assert poses.positions[:, 0] == pytest.approx(2 * expected, abs=1e-5)
        assert poses.rotations == pytest.approx(np.array([rotation((0, angle, 0)) for angle in expected]), abs=1e-5)

    def test_frames_without_a_pose_within_10_ms_have_no_answer(self, tmp_path):
        file = self.write(tmp_path / "path.txt", "tum", self.STAMPS + np.array([0, 9, 0, 11, 0, 0, 0, 0]) * 1_000_000)
        found = trajectory.run(scenes.FramesInMemory([None] * 8), trajectory.read_trajectory(file))
        assert list(np.flatnonzero(~found.answered)) == [0, 3, 4]
        assert sum(found.failures.values()) == 2

    def test_kitti_needs_a_pose_per_frame(self, tmp_path):
        poses = trajectory.read_trajectory(self.write(tmp_path / "path.txt", "kitti"))
        with pytest.raises(InputError, match="8 poses without stamps for 7 frames"):
            trajectory.run(scenes.FramesInMemory([None] * 7), poses)

    def test_stamps_of_another_time_are_said(self, tmp_path):
        poses = trajectory.read_trajectory(self.write(tmp_path / "path.txt", "tum", self.STAMPS - 10**12))
        with pytest.raises(InputError, match="same computer"):
            trajectory.run(scenes.FramesInMemory([None] * 8), poses)

    @pytest.mark.parametrize(
        "text", ["", "1 2 3\n", "1 2 3 4 5 6 7 x\n", "1 2 3 4 5 6 7 8\n1 2\n", "1,2,3\n", "nan " * 8]
    )
    def test_other_files_are_refused(self, tmp_path, text):
        (tmp_path / "path.txt").write_text(text)
        with pytest.raises(InputError, match="not in the format of TUM"):
            trajectory.read_trajectory(tmp_path / "path.txt")

    def test_an_orientation_of_zero_length_is_refused(self, tmp_path):
        (tmp_path / "path.txt").write_text("1 0 0 0 0 0 0 0\n")
        with pytest.raises(InputError, match="zero length"):
            trajectory.read_trajectory(tmp_path / "path.txt")


def _text(*numbers) -> str:
    return " ".join(repr(float(number)) for number in np.concatenate(numbers if len(numbers) > 1 else [*numbers]))


@dataclasses.dataclass(frozen=True)
class _Settings:
    knob: float = 1.0


@pytest.mark.usefixtures("own_cache")
class TestSavedAnswers:
    MOTION = motion.Motion(np.eye(3), np.full((3, 3), np.nan), np.array([-1, 0, 0]), 0.25, {"lost": 1})

    def answer(self, frames=None, knob=1.0, calls=None):
        frames = frames or scenes.FramesInMemory([None] * 3)

        def run():
            calls.append(knob)
            return self.MOTION

        return cache.load_or_run(cache.answer_file("method", frames, _Settings(knob)), run)

    def test_an_answer_is_computed_once_and_comes_back_equal(self):
        calls = []
        first, second = self.answer(calls=calls), self.answer(calls=calls)
        assert calls == [1.0]
        for answer in (first, second):
            assert (answer.angular == self.MOTION.angular).all()
            assert np.isnan(answer.linear).all()
            assert list(answer.piece) == [-1, 0, 0]
            assert (answer.seconds, answer.failures) == (0.25, {"lost": 1})

    def test_other_settings_or_frames_are_computed_anew(self):
        calls = []
        self.answer(calls=calls)
        self.answer(knob=2.0, calls=calls)
        self.answer(scenes.FramesInMemory([None] * 3, digest="other"), calls=calls)
        assert calls == [1.0, 2.0, 1.0]

    def test_a_damaged_file_is_computed_anew(self):
        calls = []
        self.answer(calls=calls)
        path = cache.answer_file("method", scenes.FramesInMemory([None] * 3), _Settings())
        path.write_bytes(path.read_bytes()[:-30])
        self.answer(calls=calls)
        self.answer(calls=calls)
        assert len(calls) == 2

    def test_an_answer_that_cannot_be_kept_is_given_all_the_same(self, tmp_path, monkeypatch, caplog):
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert self.answer(calls=[]) is self.MOTION
        assert "is not kept for the next time: Not a directory" in caplog.text


class TestFrames:
    def frames(self, path, every: int = 1) -> Frames:
        with Recording(path) as recording:
            return Frames.of(recording, TOPICS, every)

    def test_stamps_that_do_not_ascend_are_left_out(self, tmp_path):
        stamps = bags.frame_stamps(5)
        images = [
            bags.image_message(stamp, i) for i, stamp in enumerate([0, stamps[1], stamps[1], stamps[0], stamps[4]])
        ]
        recording = bags.moving_camera(tmp_path / "bag", 5, **{TOPICS.image: images})
        assert list(self.frames(recording).stamps) == [stamps[0], stamps[1], stamps[4]]

    def test_the_same_frames_have_the_same_digest_wherever_they_are(self, tmp_path):
        first, second = (self.frames(bags.moving_camera(tmp_path / name, 6)) for name in "ab")
        assert first.digest == second.digest
        assert first.digest != self.frames(tmp_path / "a", every=2).digest

    def test_a_zooming_camera_is_refused(self, tmp_path):
        infos = [bags.camera_info(stamp, 130.0 + i) for i, stamp in enumerate(bags.frame_stamps(4))]
        recording = bags.moving_camera(tmp_path / "bag", 4, **{TOPICS.camera_info: infos})
        with pytest.raises(InputError, match="change"):
            self.frames(recording)


class TestChoosing:
    def test_an_unknown_name_lists_the_known_ones(self):
        with pytest.raises(InputError, match=r"klt, colmap, .*trajectory:FILE"):
            find_baseline("orb_slam")

    @pytest.mark.parametrize(
        ("name", "package"),
        [("colmap", "pycolmap"), ("hloc", "hloc"), ("droid", "droid"), ("mast3r", "mast3r"), ("mast3r", "torch")],
    )
    def test_a_missing_package_is_named_before_anything_runs(self, monkeypatch, name, package):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InputError, match=rf"{name} needs.*{package}"):
            find_baseline(name)

    def test_a_missing_file_is_said(self, tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            find_baseline(f"trajectory:{tmp_path / 'none.txt'}")


class TestPinhole:
    def test_straight_lines_are_straight_again(self):
        """What a distorting lens makes of an image is undone, except where it saw past the border."""
        seen = scenes.view_of(np.eye(3), np.zeros(3), PANORAMA)
        lens = dataclasses.replace(scenes.CAMERA, distortion_model="plumb_bob", distortion=(-0.2, 0.05, 0.001, 0.0))
        rays = lens.rays(cell_centres(lens.height, lens.width, 1))
        bent = cv2.remap(
            seen, scenes.CAMERA.project(rays).astype(np.float32).reshape(*seen.shape, 2), None, cv2.INTER_CUBIC
        )
        ((number, straight),) = undistorted_images(scenes.FramesInMemory([bent], lens))
        assert number == 0
        inner = np.s_[40:-40, 40:-40]
        assert np.abs(straight[inner].mean(2) - seen[inner]).mean() < 2
        assert np.abs(bent[inner] - seen[inner].astype(float)).mean() > 5

    def test_frames_that_cannot_be_decoded_are_left_out(self):
        seen = scenes.view_of(np.eye(3), np.zeros(3), PANORAMA)
        assert [number for number, _ in undistorted_images(scenes.FramesInMemory([seen, None, seen]))] == [0, 2]


class TestLearnedSystems:
    """They need a GPU and checkouts. Here stands the interface that they publish, with the true poses behind it."""

    ANGULAR, LINEAR = (0.3, -0.5, 0.2), (0.5, 0.1, -0.3)

    def frames(self) -> scenes.FramesInMemory:
        seen = scenes.view_of(np.eye(3), np.zeros(3), PANORAMA)
        return scenes.FramesInMemory([seen, seen, None, seen, seen])

    def agrees(self, found: motion.Motion) -> None:
        assert list(found.answered) == [False, True, False, False, True]
        assert found.angular[[1, 4]] == pytest.approx(np.array([self.ANGULAR] * 2), abs=1e-4)
        assert found.linear[[1, 4]] == pytest.approx(np.array([self.LINEAR] * 2), abs=1e-4)
        assert sum(found.failures.values()) == 2

    def test_droid_slam_gets_images_of_its_size_and_its_poses_are_understood(self, tmp_path, monkeypatch):
        pytest.importorskip("torch", reason="torch is not installed")
        rotations, positions = path_of(self.ANGULAR, self.LINEAR, 5)
        vectors = np.array([cv2.Rodrigues(r)[0][:, 0] for r in rotations])
        angles = np.linalg.norm(vectors, axis=1, keepdims=True)
        poses = np.hstack([positions, np.sinc(angles / 2 / np.pi) * vectors / 2, np.cos(angles / 2)])  # x, y, z, w last
        tracked = []

        class Droid:
            def __init__(self, args):
                assert args.image_size == [384, 512]
                assert args.weights == str(tmp_path / "droid.pth")

            def track(self, tstamp, image, depth=None, intrinsics=None):
                assert tuple(image.shape) == (1, 3, 384, 512)
                assert intrinsics.tolist() == pytest.approx([416, 412.8, 253.1, 193.9], abs=0.01)
                tracked.append(tstamp)

            def terminate(self, stream=None):
                return np.array([poses[tstamp] for tstamp, _, _ in stream])

        publish(monkeypatch, "droid", Droid=Droid, __file__=str(tmp_path / "droid_slam" / "droid.py"))
        with pytest.raises(InputError, match=r"droid\.pth"):
            droid.settings()
        (tmp_path / "droid.pth").touch()
        self.agrees(droid.run(self.frames(), droid.settings()))
        assert tracked == [0, 1, 3, 4]

    def test_mast3r_gets_files_and_its_poses_are_understood(self, monkeypatch):
        torch = pytest.importorskip("torch", reason="torch is not installed")
        rotations, positions = path_of(self.ANGULAR, self.LINEAR, 5)

        class Scene:
            def __init__(self, files):
                self.files = files

            def get_im_poses(self):
                numbers = [int(Path(file).stem) for file in self.files]
                poses = np.tile(np.eye(4), (len(numbers), 1, 1))
                poses[:, :3, :3], poses[:, :3, 3] = rotations[numbers], positions[numbers]
                return torch.as_tensor(poses)

        def align(imgs, pairs_in, cache_path, model, device="cuda", shared_intrinsics=False, **options):
            assert pairs_in == [("pairs of", "logwin-5-noncyclic")]
            assert options.keys() == {"lr1", "niter1", "lr2", "niter2", "opt_depth", "matching_conf_thr"}
            assert all(cv2.imread(file).shape == (240, 320, 3) for file in imgs)
            return Scene(imgs)

        class Network(torch.nn.Module):
            @classmethod
            def from_pretrained(cls, name):
                return cls()

        def make_pairs(imgs, scene_graph, prefilter=None, symmetrize=True):
            return [("pairs of", scene_graph)]

        publish(monkeypatch, "mast3r")
        publish(monkeypatch, "mast3r.model", AsymmetricMASt3R=Network)
        publish(monkeypatch, "mast3r.cloud_opt.sparse_ga", sparse_global_alignment=align)
        publish(monkeypatch, "mast3r.utils.path_to_dust3r")
        publish(monkeypatch, "dust3r.image_pairs", make_pairs=make_pairs)
        publish(monkeypatch, "dust3r.utils.image", load_images=lambda files, size, verbose: files)
        self.agrees(mast3r.run(self.frames(), mast3r.settings()))


class TestColmap:
    def test_lenses_are_named_as_colmap_does_and_its_pixels_start_at_a_corner(self):
        plain = Camera(640, 480, 500.0, 501.0, 320.0, 240.0)
        assert colmap.camera_parameters(plain) == ("PINHOLE", [500.0, 501.0, 320.5, 240.5])
        kinect = dataclasses.replace(plain, distortion_model="plumb_bob", distortion=(0.2, -0.9, 0.01, 0.02, 1.2))
        assert colmap.camera_parameters(kinect)[0] == "FULL_OPENCV"
        assert colmap.camera_parameters(kinect)[1][4:] == [0.2, -0.9, 0.01, 0.02, 1.2, 0, 0, 0]
        fisheye = dataclasses.replace(plain, distortion_model="equidistant", distortion=(0.1, 0.2, 0.3, 0.4))
        assert colmap.camera_parameters(fisheye)[0] == "OPENCV_FISHEYE"

    def test_the_parameters_project_as_ours_do(self):
        pycolmap = pytest.importorskip("pycolmap")
        ours = Camera(640, 480, 517.3, 516.5, 318.6, 255.3, "plumb_bob", (0.26, -0.95, -0.005, 0.003, 1.16))
        model, parameters = colmap.camera_parameters(ours)
        theirs = pycolmap.Camera(model=model, width=640, height=480, params=parameters)
        rays = np.array([[0.1, -0.2], [-0.4, 0.3]])
        points = np.column_stack([rays, np.ones(2)])
        assert np.array([theirs.img_from_cam(point) for point in points]) == pytest.approx(ours.project(rays) + 0.5)

    ANGULAR, LINEAR = (0.1, -0.4, -0.2), (2.0, 0.4, 0.0)

    def frames(self) -> scenes.FramesInMemory:
        """Three planes one behind the other, passed by."""
        planes = [(4.0, 12.0, 1), (2.5, 2.0, 2), (2.0, 1.0, 3)]
        poses = zip(*path_of(self.ANGULAR, self.LINEAR, 10, start=(-0.7, 0, 0)), strict=True)
        return scenes.FramesInMemory([scenes.view_of(*pose, planes) for pose in poses])

    def agrees(self, found: motion.Motion) -> None:
        ground_truth = np.array([self.LINEAR] * len(found.angular))
        scaled, scales = motion.with_scale(found, ground_truth)
        assert found.answered.sum() >= 7
        assert found.answered.sum() + sum(found.failures.values()) == len(found.angular) - 1
        assert len(scales) == 1
        assert scaled.angular[found.answered] == pytest.approx(
            np.array([self.ANGULAR] * found.answered.sum()), abs=0.05
        )
        assert scaled.linear[found.answered] == pytest.approx(ground_truth[found.answered], abs=0.15)

    def test_a_camera_that_passes_by_is_reconstructed(self):
        pytest.importorskip("pycolmap", reason="pycolmap is not installed")
        self.agrees(colmap.run(self.frames(), colmap.settings()))

    def test_features_and_matches_of_hloc_get_into_its_database(self, monkeypatch):
        """Its functions have hloc's names and files; OpenCV's SIFT stands in for DISK and LightGlue."""
        pytest.importorskip("pycolmap", reason="pycolmap is not installed")
        found = {}

        def extract(conf, image_dir, feature_path):
            assert conf == "a network"
            for file in image_dir.iterdir():
                corners, descriptors = cv2.SIFT_create(800).detectAndCompute(cv2.imread(str(file), 0), None)
                found[file.name] = np.array([corner.pt for corner in corners]), descriptors

        def get_matches(path, name0, name1):
            matches = cv2.BFMatcher(crossCheck=True).match(found[name0][1], found[name1][1])
            return np.array([[match.queryIdx, match.trainIdx] for match in matches]), np.ones(len(matches))

        def match(conf, pairs, features, matches):
            assert conf == "a matcher"
            first = pairs.read_text().splitlines()[0]
            assert first == "000000.png 000001.png"

        publish(monkeypatch, "hloc")
        publish(monkeypatch, "hloc.extract_features", confs={"disk": "a network"}, main=extract)
        publish(monkeypatch, "hloc.match_features", confs={"disk+lightglue": "a matcher"}, main=match)
        keypoints = {"get_keypoints": lambda path, name: found[name][0]}
        publish(monkeypatch, "hloc.utils.io", get_matches=get_matches, **keypoints)
        self.agrees(hloc.run(self.frames(), hloc.settings()))

    def test_pairs_are_those_of_a_sequence(self):
        pairs = [first + second for first, second in hloc.sequential_pairs(list("abcdef"), 3)]
        assert pairs == ["ab", "ac", "ad", "ae", "bc", "bd", "be", "bf", "cd", "ce", "cf", "de", "df", "ef"]


@pytest.mark.usefixtures("own_cache")
class TestInEvaluate:
    """The engine sees exactly; the images are uniform, in which nobody else finds anything."""

    COUNT = 12

    @pytest.fixture(autouse=True)
    def exact_engine(self, monkeypatch):
        monkeypatch.setattr(open_engine, "resource", lambda name: name)
        monkeypatch.setattr(open_engine, "load_engine", lambda *_: bags.ExactEngine(bags.frame_stamps(self.COUNT)))

    def rows(self, tmp_path, recording, *options: str, exposure: str = "0.01") -> dict:
        output = tmp_path / "out"
        command = [str(recording), "--output", str(output), "--exposure", exposure, *options]
        assert command_line.run("evaluate", command) == 0
        figures = json.loads((output / "metrics.json").read_text())["baselines"]
        assert (output / "comparison.png").stat().st_size > 10_000
        self.table = (output / "comparison.md").read_text()
        return {(row["method"], row["velocity"]): row for row in figures["rows"]}

    def test_all_methods_stand_in_one_table_and_failures_are_counted(self, tmp_path, capsys):
        rows = self.rows(tmp_path, bags.moving_camera(tmp_path / "bag", self.COUNT), "--baseline", "klt")
        assert rows["klt", "at the frame"]["all"]["frames"] == self.COUNT
        assert rows["klt", "since the frame before"]["all"] == {
            "frames": self.COUNT - 1,
            "answered": 0,
            "rmse_angular": None,
            "rmse_linear": None,
        }
        assert rows["klt", "at the frame"]["failures"] == {"fewer than 15 corners could be tracked": self.COUNT - 1}
        assert rows["ours, single, causal", "at the frame"]["failures"] == {"direction open": self.COUNT}
        oracle = rows["ours, single, oracle", "at the frame"]
        assert oracle["all"]["answered"] == self.COUNT
        assert max(oracle["all"]["rmse_angular"]) < 0.01
        assert oracle["blurred"]["frames"] == 3
        assert self.table in capsys.readouterr().out
        assert "| klt | since the frame before | 0/11 (0%) | – | – |" in self.table

    def test_a_trajectory_of_the_true_path_has_small_errors_and_the_scale_comes_out(self, tmp_path):
        """Poses integrated at 1 kHz, in units of half a metre."""
        stamps = bags.frame_stamps(self.COUNT)
        lines, here, at = [], np.eye(3), np.zeros(3)
        for time in range(stamps[0], stamps[-1] + 1, 1_000_000):
            if time in stamps:
                vector = cv2.Rodrigues(here)[0][:, 0]
                angle = np.linalg.norm(vector)
                quaternion = [*np.sinc(angle / 2 / np.pi) * vector / 2, np.cos(angle / 2)]
                lines.append(f"{time / 1e9:.9f} " + _text(2 * at, quaternion))
            velocity = bags.motion(time + 500_000)
            halfway = here @ rotation(velocity[3:] * 0.5e-3)
            at, here = at + halfway @ velocity[:3] * 1e-3, here @ rotation(velocity[3:] * 1e-3)
        (tmp_path / "path.txt").write_text("\n".join(lines))
        name = f"trajectory:{tmp_path / 'path.txt'}"
        rows = self.rows(tmp_path, bags.moving_camera(tmp_path / "bag", self.COUNT), "--baseline", name)
        row = rows[name, "since the frame before"]
        assert row["scales"] == pytest.approx([0.5], abs=0.01)
        assert row["all"]["answered"] == self.COUNT - 1
        assert max(row["all"]["rmse_angular"]) < 0.02
        assert max(row["all"]["rmse_linear"]) < 0.01
        assert row["ms_per_frame"] is None
        assert rows[name, "at the frame"]["all"]["answered"] == self.COUNT - 2, "both neighbours are needed"

    def test_every_nth_frame_holds_for_all(self, tmp_path):
        recording = bags.moving_camera(tmp_path / "bag", self.COUNT)
        rows = self.rows(tmp_path, recording, "--baseline", "klt", "--every", "3")
        assert {row["all"]["frames"] for (_, velocity), row in rows.items() if velocity == "at the frame"} == {4}

    def test_ground_truth_is_needed(self, tmp_path, capsys):
        recording = bags.moving_camera(tmp_path / "bag", self.COUNT, ground_truth="none")
        command = [str(recording), "--output", str(tmp_path / "out"), "--exposure", "0.01", "--baseline", "klt"]
        assert command_line.run("evaluate", command) == 2
        assert "--baseline needs ground truth" in capsys.readouterr().err

    def test_an_exposure_that_stays_unknown_leaves_single_frames_without_an_answer(self, tmp_path, monkeypatch):
        """Nothing is blurred, so that only alignment answers."""
        stamps = bags.frame_stamps(self.COUNT)
        monkeypatch.setattr(open_engine, "load_engine", lambda *_: bags.SharpEngine(stamps))
        images = {TOPICS.image: bags.panorama_messages(stamps, 0.4)}
        rates = [bags.imu(stamp, np.array([0, 0.4, 0])) for stamp in range(stamps[0], stamps[-1] + 1, 10_000_000)]
        recording = bags.moving_camera(tmp_path / "bag", self.COUNT, ground_truth="none", **images, **{"/imu": rates})
        rows = self.rows(tmp_path, recording, "--baseline", "klt", exposure="estimate")
        for sign_resolution in ("causal", "centered", "oracle"):
            single = rows[f"ours, single, {sign_resolution}", "at the frame"]
            assert single["failures"] == {"no estimate": self.COUNT}
            assert single["all"]["rmse_angular"] is None
            assert single["ms_per_frame"] is None
        assert rows["ours, auto, causal", "as published"]["all"]["answered"] >= self.COUNT - 2
        assert rows["klt", "since the frame before"]["all"]["answered"] == self.COUNT - 1

"""Recordings in published layouts are read as they were taken; sub-frames show what the camera saw in between."""

import json
import struct
import sys
from dataclasses import replace
from pathlib import Path

import lz4.block
import numpy as np
import pytest
import rgbd_folders as folders

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_ros.datasets import tum as tum_reader
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.datasets import reprojection, scannetpp, stray_scanner, tum
from image_as_imu_training.datasets.layouts import find_recordings
from image_as_imu_training.datasets.photos import Photos, split_photos
from image_as_imu_training.datasets.prompt_da import PromptDepth
from image_as_imu_training.datasets.rgbd import (
    RgbdFrame,
    fill_holes,
    find_jumps,
    linear_luminance,
)
from image_as_imu_training.datasets.rgbd_textures import RgbdScenes, as_wide_as_possible
from image_as_imu_training.datasets.rife import Rife

SHARED = Path(__file__).resolve().parents[3] / "shared"
needs_kitchen = pytest.mark.skipif(
    not (SHARED / "rgbd" / "redkitchen").is_dir(), reason="the RGB-D frames are not beside this repository"
)
CPU = torch.device("cpu")
STAMPS_30 = folders.START + np.arange(4) / 30
STAMPS_60 = folders.START + np.arange(4) / 60


def write_recording(layout: str, folder: Path) -> np.ndarray:
    """Four frames; their stamps, s."""
    if layout == "7scenes":
        folders.write_seven_scenes(folder, range(4))
        return STAMPS_30 - folders.START
    if layout == "tum":
        folders.write_tum(folder, STAMPS_30)
        return STAMPS_30
    if layout == "stray":
        folders.write_stray(folder, STAMPS_60)
    else:
        folders.write_scannetpp(folder, STAMPS_60, colmap=[0, 3])
    return STAMPS_60


@pytest.mark.parametrize("layout", ["7scenes", "tum", "stray", "scannetpp"])
def test_every_layout_gives_the_frames_that_were_taken(layout, tmp_path):
    stamps = write_recording(layout, tmp_path / "recording")
    parts = [find_recordings(f"{layout}:{tmp_path}", held_out) for held_out in (False, True)]
    frames = [frame for part in parts for recording in part for frame in recording.open()]
    assert [frame.stamp for frame in frames] == pytest.approx(list(stamps))
    start = 0 if layout == "7scenes" else folders.START
    for frame in frames:
        pose = folders.pose_at(frame.stamp - start + folders.START)
        gray, depth = folders.see(folders.CAMERA, pose)
        np.testing.assert_allclose(frame.pose, pose, atol=2e-5)
        np.testing.assert_allclose(frame.colour, np.repeat(gray[..., None], 3, axis=2), atol=1)
        assert np.isnan(frame.depth[:5, :5]).all()
        np.testing.assert_allclose(frame.depth[6:, 6:], depth[6:, 6:], atol=6e-4)
        assert frame.camera == folders.CAMERA


def test_what_is_for_training_and_what_for_validation(tmp_path):
    folders.write_seven_scenes(tmp_path / "seq-01", range(10))
    folders.write_scannetpp(tmp_path / "0d2ee665be", STAMPS_60[:2])
    folders.write_scannetpp(tmp_path / "ffffffffff", STAMPS_60[:2])
    training, validation = (find_recordings(f"7scenes:{tmp_path}", held_out)[0].open() for held_out in (False, True))
    assert (len(training), len(validation)) == (8, 2)
    assert training.stamps[-1] < validation.stamps[0]
    scenes = [find_recordings(f"scannetpp:{tmp_path}", held_out) for held_out in (False, True)]
    assert [[recording.folder.name for recording in part] for part in scenes] == [["ffffffffff"], ["0d2ee665be"]]


def test_scannetpp_has_fifty_validation_scenes():
    assert len(scannetpp.VALIDATION_SCENES) == 50
    assert all(len(scene) == 10 and int(scene, 16) for scene in scannetpp.VALIDATION_SCENES)


@pytest.mark.parametrize(
    ("source", "message"), [("kitti:x", "7scenes, tum, stray, scannetpp"), ("tum", "LAYOUT:FOLDER"), ("tum:", "LAYOUT")]
)
def test_an_unknown_layout_is_said_clearly(source, message):
    with pytest.raises(InputError, match=message):
        find_recordings(source, held_out=False)


def test_a_folder_of_another_layout_is_said_clearly(tmp_path):
    folders.write_seven_scenes(tmp_path, [0])
    with pytest.raises(InputError, match=r"no tum recording in .*: no rgb\.txt there"):
        find_recordings(f"tum:{tmp_path}", held_out=False)


# --- 7-Scenes


def test_seven_scenes_without_intrinsics_has_those_of_the_data_set(tmp_path):
    folders.write_seven_scenes(tmp_path, [0, 1])
    (tmp_path / "camera-intrinsics.txt").unlink()
    frame = find_recordings(f"7scenes:{tmp_path}", held_out=False)[0].open()[0]
    camera = frame.camera.resize(640, 480)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == pytest.approx((585, 585, 320, 240))


def test_frames_of_a_lost_tracker_are_left_out(tmp_path):
    folders.write_seven_scenes(tmp_path, range(10))
    np.savetxt(tmp_path / "frame-000003.pose.txt", np.full((4, 4), -np.inf))
    sequence = find_recordings(f"7scenes:{tmp_path}", held_out=False)[0].open()
    assert 3 / 30 not in sequence.stamps
    assert not sequence.jumps.any()


# --- TUM


def test_tum_colour_images_without_depth_in_time_are_left_out(tmp_path):
    folders.write_tum(tmp_path, [folders.START], depth_delay=0.021)
    with pytest.raises(InputError, match="within 20 ms"):
        tum.read(tmp_path)


def test_tum_lens_distortion_is_undone(tmp_path):
    camera = Camera(640, 480, 517.3, 516.5, 318.6, 255.3, "plumb_bob", (0.2624, -0.9531, -0.0054, 0.0026, 1.1633))
    folder = tmp_path / "rgbd_dataset_freiburg1_wall"
    folders.write_tum(folder, [folders.START], camera)
    frame = tum.read(folder)[0]
    assert frame.camera == camera
    ideal = Camera(320, 240, 290.0, 290.0, 159.5, 119.5)
    gray, depth = folders.see(ideal, frame.pose)
    seen = frame.seen_by(ideal)
    assert np.abs(seen.colour[..., 0].astype(int) - gray).max() <= 2
    np.testing.assert_allclose(seen.depth, depth, atol=0.005)


def test_an_unknown_tum_camera_is_said_clearly(tmp_path):
    folders.write_tum(tmp_path, STAMPS_30)
    (tmp_path / "camera-intrinsics.txt").unlink()
    with pytest.raises(InputError, match=r"freiburg1.*camera-intrinsics\.txt"):
        tum.read(tmp_path)[0]


def test_one_reader_serves_convert_and_training(tmp_path):
    """Depth in fifths of a millimetre is rounded to ROS's millimetres only for `convert`; a folder's camera counts."""
    folders.write_tum(tmp_path, STAMPS_30)
    frame = next(iter(tum_reader.open_capture(tmp_path).frames))
    assert frame.camera == folders.CAMERA
    _, depth = folders.see(folders.CAMERA, folders.pose_at(STAMPS_30[0]))
    metres = tum.read(tmp_path)[0].depth
    np.testing.assert_allclose(metres[6:, 6:], depth[6:, 6:], atol=1.1e-4)
    np.testing.assert_array_equal(frame.depth[6:, 6:], np.round(1000 * metres[6:, 6:].astype(np.float64)))
    assert not frame.depth[:5, :5].any()


def test_a_frame_at_a_pose_needs_no_other_pose_nearby(tmp_path):
    folders.write_tum(tmp_path, STAMPS_30)
    lines = [f"{stamp:.6f} {i} 0 0 0 0 0 1" for i, stamp in enumerate((STAMPS_30[0] - 5, *STAMPS_30[1:3], 2000.0))]
    (tmp_path / "groundtruth.txt").write_text("\n".join(lines))
    sequence = tum.read(tmp_path)  # the first frame lies in 5 s without poses, the last in 1000 s
    np.testing.assert_allclose(sequence.stamps, STAMPS_30[1:3], atol=1e-6)
    np.testing.assert_allclose(sequence.poses[:, 0, 3], [1, 2])


# --- Stray Scanner


def test_arkits_backward_axis_becomes_opencvs_forward_axis(tmp_path):
    """ARKit's camera looks along −z with y up; poses read look along +z with y down."""
    folders.write_stray(tmp_path, STAMPS_60)
    for stamp, pose in zip(STAMPS_60, stray_scanner.read(tmp_path).poses, strict=True):
        arkit = folders.pose_at(stamp)[:3, :3] @ folders.ARKIT_FROM_OPENCV
        np.testing.assert_allclose(pose[:3, 2], -arkit[:, 2], atol=1e-6)
        np.testing.assert_allclose(pose[:3, 1], -arkit[:, 1], atol=1e-6)
        np.testing.assert_allclose(pose[:3, 0], arkit[:, 0], atol=1e-6)


def test_a_first_image_before_the_videos_start_belongs_to_nobody(tmp_path):
    """Some versions of the app stamp it so: the container counts it, but nothing shows it."""
    folders.write_stray(tmp_path, STAMPS_60)
    video = bytearray((tmp_path / "rgb.mp4").read_bytes())
    scale_at, start_at = video.find(b"mdhd") + 16, video.find(b"elst") + 16
    frame = struct.unpack_from(">I", video, scale_at)[0] // 60
    struct.pack_into(">i", video, start_at, frame)
    (tmp_path / "rgb.mp4").write_bytes(video)
    sequence = stray_scanner.read(tmp_path)
    assert list(sequence.stamps) == pytest.approx(list(STAMPS_60[1:]))
    for frame in sequence:
        np.testing.assert_allclose(frame.colour[..., 0], folders.see(folders.CAMERA, frame.pose)[0], atol=1)


def test_a_video_of_another_recording_is_refused(tmp_path):
    folders.write_stray(tmp_path, STAMPS_60)
    folders.write_video(tmp_path / "rgb.mp4", [np.zeros((48, 64), np.uint8)] * 2)
    with pytest.raises(InputError, match=r"2 frames, but .* has 4 rows"):
        stray_scanner.read(tmp_path)


def test_newer_recordings_give_each_frame_its_own_focal_length(tmp_path):
    folders.write_stray(tmp_path, STAMPS_60)
    header, *rows = (tmp_path / "odometry.csv").read_text().splitlines()
    rows = [f"{row}, {60 + i}, {60 + i}, 31, 24, , " for i, row in enumerate(rows)]
    header += ", fx, fy, cx, cy, distortion_center_x, distortion_center_y"
    (tmp_path / "odometry.csv").write_text("\n".join([header, *rows]))
    assert [frame.camera.fx for frame in stray_scanner.read(tmp_path)] == [60, 61, 62, 63]


def test_depth_of_the_lowest_confidence_is_unknown(tmp_path):
    folders.write_stray(tmp_path, STAMPS_60)
    confidence = np.full((48, 64), 1, np.uint8)
    confidence[20:30] = 0
    folders.write_image(tmp_path / "confidence" / "000001.png", confidence)
    depth = stray_scanner.read(tmp_path)[1].depth
    assert np.isnan(depth[20:30]).all()
    assert np.isfinite(depth[30:]).all()


# --- ScanNet++


@pytest.mark.parametrize("form", ["one stream", "frames, DEFLATE", "frames, LZ4"])
def test_scannetpp_depth_is_read_from_depth_bin(form, tmp_path):
    folders.write_scannetpp(tmp_path, STAMPS_60)
    for file in (tmp_path / "iphone" / "depth").iterdir():
        file.unlink()
    (tmp_path / "iphone" / "depth").rmdir()
    depth = (1 + np.arange(4 * 192 * 256).reshape(4, 192, 256) % 3000 / 1000).astype(np.float32)
    if form == "one stream":
        data = folders.deflated(depth)
    else:
        compress = folders.deflated
        if form == "frames, LZ4":

            def compress(frame):
                return lz4.block.compress((frame * 1000).round().astype(np.uint16).tobytes(), store_size=False)

        data = b"".join(struct.pack("<I", len(part)) + part for part in map(compress, depth))
    (tmp_path / "iphone" / "depth.bin").write_bytes(data)
    frames = list(scannetpp.read(tmp_path))
    assert len(frames) == 4
    for frame, expected in zip(frames, depth, strict=True):
        np.testing.assert_allclose(frame.depth, expected, atol=2e-3)


def test_where_arkit_and_colmap_disagree_arkit_has_jumped(tmp_path):
    """A creeping error of 1 cm per frame is no jump by itself; against COLMAP it is one."""
    stamps = folders.START + np.arange(13) / 60
    folders.write_scannetpp(tmp_path, stamps, colmap=[0, 4, 8, 12])
    file = tmp_path / "iphone" / "pose_intrinsic_imu.json"
    entries = json.loads(file.read_text())
    for i in range(5, 13):
        entries[f"frame_{i:06d}"]["aligned_pose"][1][3] += 0.01 * (min(i, 8) - 4)
    file.write_text(json.dumps(entries))
    sequence = scannetpp.read(tmp_path)
    assert not find_jumps(sequence.stamps, sequence.poses).any()
    assert np.flatnonzero(sequence.jumps).tolist() == [4, 5, 6, 7]


# --- poses


def walk(count: int = 20, rate: float = 60) -> tuple[np.ndarray, np.ndarray]:
    stamps = folders.START + np.arange(count) / rate
    return stamps, np.array([folders.pose_at(stamp) for stamp in stamps])


def test_a_steady_walk_has_no_jumps():
    assert not find_jumps(*walk()).any()


@pytest.mark.parametrize("step", [0, 7, 18])
def test_a_tracker_that_finds_itself_again_jumps_once(step):
    stamps, poses = walk()
    poses[step + 1 :, :3, 3] += (0.0, 0.03, 0.0)
    assert np.flatnonzero(find_jumps(stamps, poses)).tolist() == [step]


def test_a_rotation_of_the_whole_track_is_a_jump():
    stamps, poses = walk()
    poses[8:] = pose_of(np.array([0.0, 0.0, 0.06])) @ poses[8:]
    assert np.flatnonzero(find_jumps(stamps, poses)).tolist() == [7]


def pose_of(vector: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = so3.exp(vector)
    return pose


def test_speeding_up_is_no_jump():
    """From rest to 1.5 m/s within 0.1 s, as a hand can."""
    stamps, poses = walk()
    poses[:, 0, 3] += np.cumsum(np.clip(np.arange(20) - 6, 0, 6) / 6 * 1.5 / 60)
    assert not find_jumps(stamps, poses).any()


def test_frames_far_apart_are_not_filled_in():
    stamps, poses = walk()
    kept = np.r_[:8, 17:20]
    assert np.flatnonzero(find_jumps(stamps[kept], poses[kept])).tolist() == [7]


def test_holes_take_the_nearest_depth():
    depth = np.full((9, 9), np.nan, np.float32)
    depth[:, 0], depth[:, 8] = 1.0, 2.0
    depth[4, 4] = 0.2  # not plausible
    filled = fill_holes(depth)
    assert (filled[:, :4] == 1).all()
    assert (filled[:, 5:] == 2).all()
    far = np.array([[20.0, np.inf]], np.float32)
    assert fill_holes(far).tolist() == [[20.0, 1e4]]  # no holes
    with pytest.raises(InputError, match="no depth"):
        fill_holes(np.full((4, 4), np.nan, np.float32))


# --- sub-frames


def frame_at(stamp: float, camera: Camera) -> RgbdFrame:
    pose = folders.pose_at(stamp)
    gray, depth = folders.see(camera, pose)
    return RgbdFrame(np.repeat(gray[..., None], 3, axis=2), depth.astype(np.float32), camera, pose, stamp)


SMALL = Camera(96, 72, 90.0, 90.0, 46.0, 37.0)


def test_reprojection_of_a_wall_is_what_the_camera_sees_in_between():
    first, second = frame_at(folders.START, SMALL), frame_at(folders.START + 0.1, SMALL)
    times = np.array([0.0, 0.3, 0.5, 1.0])
    for time, seen in zip(times, reprojection.subframes(first, second, times, CPU).numpy(), strict=True):
        expected = linear_luminance(frame_at(folders.START + 0.1 * time, SMALL).colour)
        inner = np.s_[8:-8, 8:-8]
        # Half a gray level of rounding, and linear interpolation of the stripes.
        assert np.abs(seen - expected)[inner].max() < 0.015, time
        assert np.abs(linear_luminance(first.colour) - expected)[inner].max() > (0.1 if time else -1)


def test_reprojection_looks_behind_a_board_with_the_frame_that_can():
    """A dark board before a bright wall, the camera moving right: what it uncovers is bright, not smeared."""
    camera = Camera(96, 72, 90.0, 90.0, 47.5, 35.5)

    def frame(x: float) -> RgbdFrame:
        column = np.arange(96)
        board = (np.abs((column - 47.5) / 90 * 1.0 + x) < 0.15)[None].repeat(72, 0)
        colour = np.where(board, 40, 220).astype(np.uint8)
        pose = np.eye(4)
        pose[0, 3] = x
        depth = np.where(board, 1.0, 3.0).astype(np.float32)
        return RgbdFrame(np.repeat(colour[..., None], 3, axis=2), depth, camera, pose, x)

    first, second = frame(-0.05), frame(0.05)
    (middle,) = reprojection.subframes(first, second, np.array([0.5]), CPU).numpy()
    expected = linear_luminance(frame(0.0).colour)
    wrong = np.abs(middle - expected) > 0.05
    edges = np.abs(np.diff(expected, axis=1)).max(0) > 0.1
    near_edge = np.convolve(np.append(edges, False), np.ones(5), "same") > 0
    assert not wrong[:, ~near_edge].any()
    assert wrong.mean() < 0.03


# A stand-in of the published interface: train_log/RIFE_HDv3.py of Practical-RIFE 4.25.
RIFE = """
import torch
class Model:
    def __init__(self, local_rank=-1):
        self.flownet = torch.nn.Linear(1, 1)
        self.version = {version}
    def load_model(self, path, rank=0):
        self.gain = float(open(path + "/flownet.pkl").read())
    def eval(self):
        self.flownet.eval()
    def device(self):
        self.flownet.to("cpu")
    def inference(self, img0, img1, timestep=0.5, scale=1.0):
        assert img0.shape == img1.shape and img0.shape[:2] == (1, 3) and scale == 1.0
        assert img0.shape[2] % 128 == 0 == img0.shape[3] % 128
        assert 0 <= img0.min() and 0.3 < img0.max() <= 1
        return self.gain * ((1 - timestep) * img0 + timestep * img1)
"""


@pytest.fixture
def rife_folder(tmp_path, monkeypatch):
    """A clone on the path; forgotten afterwards."""
    (tmp_path / "train_log").mkdir()
    (tmp_path / "train_log" / "RIFE_HDv3.py").write_text(RIFE.format(version=4.25))
    (tmp_path / "train_log" / "flownet.pkl").write_text("1.0")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("train_log", "train_log.RIFE_HDv3"):
        sys.modules.pop(name, None)


def test_rife_is_called_as_published(rife_folder):
    first, second = frame_at(folders.START, SMALL), frame_at(folders.START + 0.1, SMALL)
    between = Rife()(first, second, np.array([0.0, 0.5, 1.0]), CPU)
    assert between.shape == (3, 72, 96)
    np.testing.assert_allclose(between[0], linear_luminance(first.colour), atol=2e-3)
    np.testing.assert_allclose(between[2], linear_luminance(second.colour), atol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "train_log" / "RIFE_HDv3.py").write_text(RIFE.format(version=3.8)), "RIFE 3.8"),
        (lambda folder: (folder / "train_log" / "flownet.pkl").unlink(), "weights of RIFE are missing"),
        (lambda folder: (folder / "train_log" / "RIFE_HDv3.py").unlink(), "RIFE is not installed .*Practical-RIFE"),
    ],
    ids=["old version", "no weights", "not there"],
)
def test_rife_that_cannot_be_used_is_said_clearly(change, message, rife_folder):
    change(rife_folder)
    frame = frame_at(folders.START, SMALL)
    with pytest.raises(InputError, match=message):
        Rife()(frame, frame, np.array([0.5]), CPU)


# A stand-in of the published interface: promptda/promptda.py.
PROMPT_DA = """
import torch
class PromptDA(torch.nn.Module):
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path=None, model_kwargs=None, **hf_kwargs):
        assert pretrained_model_name_or_path == "depth-anything/prompt-depth-anything-vitl"
        return cls()
    def predict(self, image, prompt_depth):
        assert image.shape[:2] == (1, 3) and image.shape[2] % 14 == 0 == image.shape[3] % 14
        assert 0 <= image.min() and 0.3 < image.max() <= 1
        assert prompt_depth.shape[:2] == (1, 1) and prompt_depth.isfinite().all()
        return torch.nn.functional.interpolate(prompt_depth, image.shape[2:], mode="bilinear")
"""


def test_promptda_is_called_as_published(tmp_path, monkeypatch):
    (tmp_path / "promptda").mkdir()
    (tmp_path / "promptda" / "promptda.py").write_text(PROMPT_DA)
    monkeypatch.syspath_prepend(tmp_path)
    frame = frame_at(folders.START, SMALL)
    frame.depth[:9] = np.nan
    dense = PromptDepth(CPU)(frame)
    for name in ("promptda", "promptda.promptda"):
        sys.modules.pop(name)
    assert dense.depth.shape == (252, 336)
    seen = dense.seen_by(SMALL).depth
    assert np.isfinite(seen).all()
    np.testing.assert_allclose(seen[12:-2, 2:-2], frame.depth[12:-2, 2:-2], rtol=0.03)


def test_promptda_that_is_missing_is_said_clearly():
    with pytest.raises(InputError, match="PromptDA is not installed"):
        PromptDepth(CPU)(frame_at(folders.START, SMALL))


# --- what the renderer is given


def drawn(recordings, count=200):
    return RgbdScenes.of(recordings).draw(count, torch.Generator().manual_seed(0))


def test_each_scene_keeps_its_own_camera_and_is_drawn_as_often_as_any_other(tmp_path):
    """Ten 7-Scenes frames of 60 px focal length, of which the widest centred view is 60/47 × 3/4, and Stray: 70/64."""
    folders.write_seven_scenes(tmp_path / "a", range(10))
    folders.write_stray(tmp_path / "b", folders.START + np.arange(2) / 60)
    np.savetxt(tmp_path / "b" / "camera_matrix.csv", [[70, 0, 31.5], [0, 70, 23.5], [0, 0, 1]], delimiter=",")
    recordings = [
        recording
        for source in (f"7scenes:{tmp_path}", f"stray:{tmp_path}")
        for recording in find_recordings(source, held_out=False)
    ]
    textures = drawn(recordings)
    assert textures.texture.shape == textures.inverse_depth.shape == textures.known.shape == (200, 1, 336, 448)
    assert sorted(set(textures.focal.tolist())) == pytest.approx([60 / 47 * 3 / 4, 70 / 64])
    assert (textures.focal > 1).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_a_frame_is_seen_by_the_widest_ideal_camera_with_what_is_known_of_its_depth(tmp_path):
    folders.write_seven_scenes(tmp_path, [0])
    (recording,) = find_recordings(f"7scenes:{tmp_path}", held_out=False)
    textures = drawn([recording], 1)
    camera = as_wide_as_possible(recording.open()[0]).camera
    gray, depth = folders.see(camera, folders.pose_at(folders.START))
    inner = np.s_[20:-20, 20:-20]
    expected = linear_luminance(np.repeat(gray[..., None], 3, axis=2))
    np.testing.assert_allclose(textures.texture[0, 0].numpy()[inner], expected[inner], atol=0.04)
    known = textures.known[0, 0].numpy()
    assert not known[:20, :20].any()  # the corner that nobody measured
    assert known[60:-20, 60:-20].all()
    np.testing.assert_allclose(
        1 / textures.inverse_depth[0, 0].numpy()[60:-20, 60:-20], depth[60:-20, 60:-20], rtol=0.02
    )


def test_a_recording_of_few_frames_is_for_training(tmp_path):
    folders.write_seven_scenes(tmp_path, range(4))
    training, validation = (find_recordings(f"7scenes:{tmp_path}", held_out)[0] for held_out in (False, True))
    assert (len(training.open()), len(validation.open())) == (4, 0)
    with pytest.raises(
        InputError, match=r"7scenes:.*: of fewer than five frames none is held out.* train… and validation…"
    ):
        drawn([validation])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("frame-000001.pose.txt", "garbage", r"frame-000001\.pose\.txt does not hold a 4×4 matrix"),
        ("frame-000001.pose.txt", "", r"frame-000001\.pose\.txt does not hold a 4×4 matrix"),
        ("frame-000001.pose.txt", "1 0 0 0\n0 1 0 0\n0 0 1 0", r"frame-000001\.pose\.txt does not hold a 4×4 matrix"),
        ("frame-last.pose.txt", "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1", r"frame-last\.pose\.txt has no number"),
        ("camera-intrinsics.txt", "600 0 319 0 600 239 0 0 1", r"\(319, 239\) px .* outside the images of 64×48 px"),
        ("camera-intrinsics.txt", "0 0 31 0 0 24 0 0 1", r"camera-intrinsics\.txt: focal lengths are fx=0"),
    ],
)
def test_files_of_an_own_recording_that_cannot_be_used_are_named(tmp_path, name, text, message):
    folders.write_seven_scenes(tmp_path, range(5))
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        drawn(find_recordings(f"7scenes:{tmp_path}", held_out=False))


def test_the_last_fifth_of_a_recording_is_never_trained_on(tmp_path):
    folders.write_seven_scenes(tmp_path, range(13))
    training, validation = (
        find_recordings(f"7scenes:{tmp_path}", held_out)[0].open().stamps * 30 for held_out in (False, True)
    )
    np.testing.assert_allclose(training, range(11))
    np.testing.assert_allclose(validation, range(11, 13))


def test_scenes_of_scannetpps_validation_split_are_never_trained_on(tmp_path):
    held_out = sorted(scannetpp.VALIDATION_SCENES)[0]
    for scene in (held_out, "0123456789"):
        folders.write_scannetpp(tmp_path / scene, folders.START + np.arange(6) / 60)
    found = {held: find_recordings(f"scannetpp:{tmp_path}", held) for held in (False, True)}
    assert {held: [part.folder.name for part in parts] for held, parts in found.items()} == {
        False: ["0123456789"],
        True: [held_out],
    }
    assert all(len(part.open()) == 6 for parts in found.values() for part in parts)


def test_scenes_in_folders_for_training_and_validation_are_held_out_whole(tmp_path):
    for name in ("train/a", "train/b", "train_far/c", "validation/d"):
        folders.write_seven_scenes(tmp_path / name, range(6))
    training, validation = (find_recordings(f"7scenes:{tmp_path}", held_out) for held_out in (False, True))
    assert [recording.folder.name for recording in training] == ["a", "b", "c"]
    assert [recording.folder.name for recording in validation] == ["d"]
    assert all(len(recording.open()) == 6 for recording in training + validation)
    with pytest.raises(InputError, match=r"no tum recording in .*: no rgb\.txt one folder below its validation…"):
        find_recordings(f"tum:{tmp_path}", held_out=True)


def test_frames_without_depth_are_said_clearly(tmp_path):
    folders.write_seven_scenes(tmp_path, range(2))
    for path in tmp_path.glob("*.depth.png"):
        folders.write_image(path, np.zeros((48, 64), np.uint16))
    with pytest.raises(InputError, match="none of 100 random frames has depth at 30% of its pixels"):
        drawn(find_recordings(f"7scenes:{tmp_path}", held_out=False))


def test_photographs_of_all_formats_are_found_and_split_by_name(tmp_path):
    names = [f"{i}.{suffix}" for i in range(50) for suffix in ("jpg", "JPEG", "png", "webp")]
    for name in names:
        folders.write_image(tmp_path / name, np.full((64, 64), 100, np.uint8))
    (tmp_path / "notes.txt").write_text("no photograph")
    training, validation = split_photos(tmp_path)
    assert sorted(path.name for path in training + validation) == sorted(names)
    assert 0.03 < len(validation) / len(names) < 0.2
    (tmp_path / names[0]).unlink()
    assert set(split_photos(tmp_path)[1]) == set(validation) - {tmp_path / names[0]}
    assert len(Photos.load(validation[:3]).images) == 3


def test_what_is_no_photograph_is_said_by_name(tmp_path):
    with pytest.raises(InputError, match="no photographs"):
        split_photos(tmp_path)
    (tmp_path / "broken.jpg").write_text("not an image")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        Photos.load([tmp_path / "broken.jpg"])
    folders.write_image(tmp_path / "icon.png", np.full((63, 640), 100, np.uint8))
    with pytest.raises(InputError, match=r"icon\.png is 640×63 px, too small .* at least 64 px on each side"):
        Photos.load([tmp_path / "icon.png"])


@pytest.mark.parametrize("shape", [(64, 64), (64, 4000), (333, 65)])
def test_textures_are_cut_from_photographs_of_any_shape(tmp_path, shape):
    """From 16 bits, four channels and all corners: linear light of what lies in the photograph."""
    value = np.full((*shape, 4), 0x8080, np.uint16)  # 128 of 255 in 16 bits
    folders.write_image(tmp_path / "a.png", value)
    textures = Photos.load([tmp_path / "a.png"]).random_textures(20, torch.Generator().manual_seed(0), CPU)
    assert textures.shape == (20, 1, 384, 384)
    torch.testing.assert_close(textures, torch.full_like(textures, ((128 / 255 + 0.055) / 1.055) ** 2.4))


# --- real data


@needs_kitchen
def test_the_kitchen_seen_from_the_next_pose_is_the_next_frame():
    """Poses, depth and axes of a real recording: reprojection explains most of the change from frame to frame."""
    sequence = find_recordings(f"7scenes:{SHARED / 'rgbd' / 'redkitchen'}", held_out=False)[0].open()
    held_out = find_recordings(f"7scenes:{SHARED / 'rgbd' / 'redkitchen'}", held_out=True)[0].open()
    assert (len(sequence), len(held_out), sequence[0].camera.fx) == (160, 40, 585)
    camera = Camera(160, 120, 146.25, 146.25, 79.625, 59.625)
    frames = [sequence[i].seen_by(camera) for i in (1, 2)]
    first, second = (replace(frame, depth=fill_holes(frame.depth)) for frame in frames)
    here, there = linear_luminance(first.colour), linear_luminance(second.colour)
    (seen,) = reprojection.reproject([first], second.pose[None], np.ones((1, 1)), CPU).numpy()
    inner = np.s_[6:-6, 6:-6]
    assert np.abs(seen - there)[inner].mean() < 0.4 * np.abs(here - there)[inner].mean()

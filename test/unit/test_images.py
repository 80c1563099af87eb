"""Messages → arrays: what each encoding means, and that damaged messages are refused."""

from __future__ import annotations

import struct
from contextlib import suppress
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.messages.images import (
    camera_from_info,
    decode_compressed,
    decode_compressed_depth,
    decode_depth,
    decode_image,
    stamp_to_nanoseconds,
)

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GRAY = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)
ALPHA = np.full((6, 8, 1), 77, np.uint8)
SMOOTH = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)


def image(pixels: np.ndarray, encoding: str, padding: int = 0, is_bigendian: int = 0, **changes) -> SimpleNamespace:
    """Make an Image message whose rows end in `padding` bytes of rubbish."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    fields = {"height": height, "width": width, "step": data.shape[1], "data": data.tobytes()}
    return SimpleNamespace(encoding=encoding, is_bigendian=is_bigendian, **{**fields, **changes})


def compressed(pixels: np.ndarray, extension: str, name: str = "") -> SimpleNamespace:
    return SimpleNamespace(format=name or extension, data=cv2.imencode(extension, pixels)[1].tobytes())


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("8UC3", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, ALPHA], axis=2)),
        ("bgra8", np.concatenate([RGB[..., ::-1], ALPHA], axis=2)),
    ],
)
def test_colour_encodings(encoding, pixels, padding):
    message = image(pixels, encoding, padding)
    np.testing.assert_array_equal(decode_image(message, "rgb"), RGB)
    np.testing.assert_array_equal(decode_image(message), GRAY)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_mono_is_a_view_of_the_message(encoding):
    message = image(GRAY, encoding, padding=3)
    decoded = decode_image(message)
    np.testing.assert_array_equal(decoded, GRAY)
    assert np.shares_memory(decoded, np.frombuffer(message.data, np.uint8))
    np.testing.assert_array_equal(decode_image(message, "rgb"), np.repeat(GRAY[..., None], 3, axis=2))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_mono_uses_all_of_8_bits_whatever_the_sensor_fills(bits, order):
    pixels = (np.arange(48, dtype=np.uint16).reshape(6, 8) << (bits - 8)) + ((1 << bits) - (48 << (bits - 8)))
    decoded = decode_image(image(pixels.astype(order + "u2"), "mono16", 2, is_bigendian=order == ">"))
    np.testing.assert_array_equal(decoded, np.arange(208, 256).reshape(6, 8))


def test_a_dark_16_bit_image_is_not_brightened():
    np.testing.assert_array_equal(decode_image(image(np.full((2, 2), 9, np.uint16), "16UC1")), np.full((2, 2), 9))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"width": 0}, "image size is 0×6"),
        ({"height": 0}, "image size is 8×0"),
        ({"width": 20000, "step": 60000}, "image size is 20000×6"),
        ({"step": 23}, "image step is 23 bytes, but 8 px of rgb8 take 24"),
        ({"data": b"123"}, "image has 3 bytes of data, but 6 rows of 24 take 144"),
        ({"data": b""}, "image has 0 bytes"),
        ({"height": 7}, "truncated"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, says):
    with pytest.raises(InputError, match=says):
        decode_image(image(RGB, "rgb8", **changes))


@given(st.integers(0, 70000), st.integers(0, 70000), st.integers(0, 2**32 - 1), st.binary(max_size=64))
def test_no_header_reads_beyond_the_data(width, height, step, data):
    message = SimpleNamespace(encoding="bgr8", width=width, height=height, step=step, data=data, is_bigendian=0)
    with suppress(InputError):
        assert decode_image(message).nbytes <= len(data)


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "yuv422", "", "nonsense"])
def test_other_encodings_without_cv_bridge_are_refused_by_name(encoding, monkeypatch):
    monkeypatch.setattr("image_as_imu_ros.messages.images._cv_bridge_fault", lambda: "No module named 'cv_bridge'")
    with pytest.raises(InputError, match=f"'{encoding}' needs cv_bridge"):
        decode_image(image(GRAY, encoding))


def test_a_cv_bridge_that_crashes_is_found_out_in_another_process(tmp_path, monkeypatch):
    from image_as_imu_ros.messages.images import _cv_bridge_fault

    (tmp_path / "cv_bridge.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _cv_bridge_fault.cache_clear()
    assert "-6" in _cv_bridge_fault()
    _cv_bridge_fault.cache_clear()


def test_compressed_png_is_exact():
    message = compressed(RGB[..., ::-1], ".png")
    np.testing.assert_array_equal(decode_compressed(message, "rgb"), RGB)
    np.testing.assert_array_equal(decode_compressed(compressed(GRAY, ".png")), GRAY)


def test_compressed_jpeg_is_close():
    message = compressed(SMOOTH[..., ::-1], ".jpg")
    assert np.abs(decode_compressed(message, "rgb").astype(int) - SMOOTH).mean() < 10
    gray = cv2.cvtColor(SMOOTH, cv2.COLOR_RGB2GRAY).astype(int)
    assert np.abs(decode_compressed(message) - gray).mean() < 5


def test_compressed_12_bit_png_uses_all_of_8_bits():
    assert decode_compressed(compressed(GRAY.astype(np.uint16) << 4, ".png")).tolist() == GRAY.tolist()


def test_zeros_after_the_end_of_a_jpeg_do_not_matter():
    message = compressed(SMOOTH, ".jpg")
    message.data += bytes(100)
    assert decode_compressed(message).shape == (48, 64)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.98])
def test_cut_off_files_are_refused(extension, kept):
    message = compressed(SMOOTH, extension)
    message.data = message.data[: int(kept * len(message.data))]
    with pytest.raises(InputError, match="cannot be decoded"):
        decode_compressed(message)


def test_depth_in_millimetres_and_in_metres():
    metres = np.array([[0.0, 0.5], [1.25, 65.0]], np.float32)
    millimetres = (metres * 1000).astype(np.uint16)
    np.testing.assert_allclose(decode_depth(image(millimetres, "16UC1", 2)), metres)
    np.testing.assert_allclose(decode_depth(image(millimetres.astype(">u2"), "16UC1", is_bigendian=1)), metres)
    np.testing.assert_array_equal(decode_depth(image(metres, "32FC1")), metres)
    assert decode_depth(image(metres, "32FC1")).dtype == np.float32
    with pytest.raises(InputError, match="'mono8', expected '16UC1'"):
        decode_depth(image(GRAY, "mono8"))


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("16UC1; png compressed", b""),
        ("16UC1; compressedDepth png", struct.pack("<iff", 0, 0.0, 0.0)),
        ("16UC1; compressedDepth", struct.pack("<iff", 0, 0.0, 0.0)),
    ],
)
def test_compressed_depth_in_millimetres(name, header):
    millimetres = np.array([[0, 500], [1250, 65000]], np.uint16)
    message = compressed(millimetres, ".png", name)
    message.data = header + message.data
    np.testing.assert_allclose(decode_compressed_depth(message), millimetres * 1e-3, rtol=1e-6)


def test_compressed_depth_as_quantised_inverse():
    """compressed_depth_image_transport on a 32FC1 image stores A/Z + B."""
    a, b = 10100.0, -1009.0
    depth = np.array([[0.9, 2.0, 5.0]])
    message = compressed(np.append(np.round(a / depth + b), [[0]], axis=1).astype(np.uint16), ".png")
    message.format, message.data = "32FC1; compressedDepth png", struct.pack("<iff", 0, a, b) + message.data
    decoded = decode_compressed_depth(message)
    np.testing.assert_allclose(decoded[0, :3], depth[0], rtol=1e-3)
    assert np.isnan(decoded[0, 3])


@pytest.mark.parametrize(
    "message",
    [
        compressed(GRAY, ".png", "16UC1; compressedDepth png"),
        compressed(GRAY, ".png", "16UC1; png"),
        SimpleNamespace(format="16UC1; compressedDepth png", data=b"short"),
        SimpleNamespace(format="16UC1; compressedDepth rvl", data=bytes(200)),
    ],
)
def test_compressed_depth_of_another_kind_is_refused(message):
    with pytest.raises(InputError):
        decode_compressed_depth(message)


def info(**changes) -> SimpleNamespace:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    fields = {"width": 640, "height": 480, "k": [500.0, 0, 320.0, 0, 510.0, 240.0, 0, 0, 1]}
    fields |= {"d": [], "distortion_model": "", "binning_x": 0, "binning_y": 0, "roi": roi}
    return SimpleNamespace(**{**fields, **changes})


def test_camera_from_info():
    assert camera_from_info(info()) == Camera(640, 480, 500.0, 510.0, 320.0, 240.0)
    lens = info(distortion_model="plumb_bob", d=[0.1, 0.2, 0.0, 0.0, 0.3])
    assert camera_from_info(lens).distortion == (0.1, 0.2, 0.0, 0.0, 0.3)
    assert camera_from_info(info(d=[0.0] * 5)).distortion == ()


def test_camera_from_info_with_capital_letters():
    message = info(K=info().k, D=[])
    del message.k, message.d
    assert camera_from_info(message) == camera_from_info(info())


def test_region_of_interest_and_binning():
    """A point of the full image is found where the sensor's readout puts it."""
    roi = SimpleNamespace(x_offset=101, y_offset=50, width=301, height=200)
    camera = camera_from_info(info(roi=roi, binning_x=2, binning_y=4))
    assert (camera.width, camera.height) == (150, 50)
    ray = np.array([[0.03, -0.05]])
    full = camera_from_info(info()).project(ray)
    np.testing.assert_allclose(camera.project(ray), (full - (101, 50) + 0.5) / (2, 4) - 0.5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"k": [0.0] * 9}, "is the camera calibrated"),
        ({"k": [float("nan")] * 9}, "not finite"),
        ({"width": 0}, "camera size is 0×480"),
        ({"distortion_model": "fancy", "d": [1.0]}, "'fancy' is not supported"),
        ({"roi": SimpleNamespace(x_offset=600, y_offset=0, width=100, height=0)}, "region of interest"),
    ],
)
def test_unusable_camera_info_is_refused(changes, says):
    with pytest.raises(InputError, match=says):
        camera_from_info(info(**changes))


def test_stamps():
    assert stamp_to_nanoseconds(SimpleNamespace(sec=1305031229, nanosec=528748032)) == 1305031229528748032

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
from image_as_imu_ros.messages.camera_info import camera_from_info, camera_info_problems, other_frames
from image_as_imu_ros.messages.depth import decode_compressed_depth, decode_depth
from image_as_imu_ros.messages.image_files import stored_size
from image_as_imu_ros.messages.images import decode_compressed, decode_image, stamp_to_nanoseconds
from image_as_imu_ros.messages.intensity import IntensityWindow

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GRAY = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)
ALPHA = np.full((6, 8, 1), 77, np.uint8)
SCENE = np.random.default_rng(1).random((120, 160))
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
        ("8UC4", np.concatenate([RGB[..., ::-1], ALPHA], axis=2)),
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
def test_16_bit_mono_keeps_its_contrast_whatever_the_sensor_fills(bits, order):
    pixels = (np.arange(48, dtype=np.uint16).reshape(6, 8) << (bits - 8)) + ((1 << bits) - (48 << (bits - 8)))
    decoded = decode_image(image(pixels.astype(order + "u2"), "mono16", 2, is_bigendian=order == ">"))
    steps = np.diff(decoded.ravel().astype(int))
    assert steps.min() >= 1
    assert np.ptp(steps) <= 1


def test_thermal_counts_above_an_offset_keep_every_level():
    """A hundred counts from 7000 on, as a thermal camera gives them, with a dead and a hot pixel."""
    scene = (7000 + 100 * SCENE).astype(np.uint16)
    scene[0, 0], scene[5, 5] = 0, 65535
    decoded = decode_image(image(scene, "mono16"))
    assert 90 <= np.ptp(decoded[8:]) <= 101
    np.testing.assert_array_equal(np.diff(decoded[8:].astype(int)), np.diff(scene[8:].astype(int), axis=1))


def test_a_hot_pixel_does_not_take_the_contrast_of_a_dim_image():
    scene = (20 + 1000 * SCENE).astype(np.uint16)
    clean = decode_image(image(scene, "mono16")).astype(int)
    scene[40, 50] = 65535
    hot = decode_image(image(scene, "mono16")).astype(int)
    assert np.ptp(clean) > 180
    assert np.abs(np.delete((hot - clean).ravel(), 40 * 160 + 50)).max() <= 1


def test_the_window_of_counts_moves_slowly_but_follows_a_jump_at_once():
    window = IntensityWindow()
    first = window.to_8_bit((7000 + 400 * SCENE).astype(np.uint16)).astype(int)
    warmer = window.to_8_bit((7004 + 400 * SCENE).astype(np.uint16)).astype(int)
    assert 1 <= np.median(warmer - first) <= 3  # a change of the scene stays one
    recalibrated = window.to_8_bit((9000 + 400 * SCENE).astype(np.uint16))
    assert np.ptp(recalibrated) > 180


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


@pytest.mark.parametrize("encoding", ["rgb16", "bgr16"])
def test_16_bit_colour(encoding):
    pixels = 40 * cv2.resize(RGB, (160, 120), interpolation=cv2.INTER_NEAREST).astype(np.uint16)
    decoded = decode_image(image(pixels if encoding == "rgb16" else pixels[..., ::-1], encoding, padding=6), "rgb")
    assert np.corrcoef(decoded.ravel(), pixels.ravel())[0, 1] > 0.999
    assert decoded.dtype == np.uint8
    assert decode_image(image(pixels, encoding)).shape == (120, 160)


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """Keep of each pixel the colour that a sensor with this pattern has there."""
    kept = np.empty(rgb.shape[:2], rgb.dtype)
    for place, letter in enumerate(pattern):
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        kept[rows, columns] = rgb[rows, columns, "rgb".index(letter)]
    return kept


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_bayer_patterns(pattern, bits):
    """Three plain colours side by side are found again away from their borders."""
    colours = np.repeat(np.array([[[200, 20, 40], [30, 180, 60], [10, 90, 220]]], np.uint8), 20, axis=1)
    scene = np.repeat(colours, 40, axis=0)
    raw = mosaic(scene, pattern).astype("u1" if bits == 8 else "u2")
    message = image(raw, f"bayer_{pattern}{bits}", padding=4)
    np.testing.assert_array_equal(decode_image(message, "rgb")[20, 10::20], colours[0, 10::20])
    luminance = cv2.cvtColor(scene, cv2.COLOR_RGB2GRAY)[20, 10::20].astype(int)
    assert np.abs(decode_image(message)[20, 10::20] - luminance).max() <= 2


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_a_compressed_mosaic_is_a_mosaic_still(extension):
    colours = np.repeat(np.array([[[200, 20, 40], [30, 180, 60], [10, 90, 220]]], np.uint8), 20, axis=1)
    raw = mosaic(np.repeat(colours, 40, axis=0), "grbg")
    message = compressed(raw, extension, f"bayer_grbg8; {extension[1:]} compressed ")
    decoded = decode_compressed(message, "rgb")[20, 10::20].astype(int)
    assert np.abs(decoded - colours[0, 10::20]).max() <= (0 if extension == ".png" else 25)
    assert decode_compressed(message).std() < 60 < raw.std()
    converted = compressed(SMOOTH, extension, "bayer_grbg8; jpeg compressed bgr8")
    assert decode_compressed(converted, "rgb").shape == (48, 64, 3)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_packed_yuv(encoding):
    luminance, blue, red = 120, 90, 200
    pixel = {"y": luminance, "u": blue, "v": red}
    order = "uyvy" if encoding in ("yuv422", "uyvy") else "yuyv"
    pixels = np.tile(np.array([pixel[letter] for letter in order], np.uint8).reshape(1, 2, 2), (6, 4, 1))
    message = image(pixels, encoding, padding=2)
    assert (decode_image(message) == luminance).all()
    expected = (1.164 * 104 + 1.596 * 72, 121 + 0.391 * 38 - 0.813 * 72, 121 - 2.018 * 38)  # ITU-R BT.601
    assert tuple(decode_image(message, "rgb")[3, 3].astype(int)) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_luminance_with_half_rows_of_colour(encoding):
    blue, red = 90, 200
    colours = np.tile(np.array([blue, red] if encoding == "nv12" else [red, blue], np.uint8), (3, 4))
    message = image(np.vstack([GRAY, colours]), encoding, padding=8, height=6)
    np.testing.assert_array_equal(decode_image(message), GRAY)
    assert decode_image(message, "rgb").shape == (6, 8, 3)
    assert decode_image(message, "rgb")[..., 0].mean() > decode_image(message, "rgb")[..., 2].mean()
    with pytest.raises(InputError, match="truncated"):
        decode_image(image(GRAY, encoding))
    with pytest.raises(InputError, match="even sides"):
        decode_image(image(GRAY, encoding, height=5))


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("side", [20_000, 16_000, 8_200])
def test_the_size_of_an_image_file_is_read_before_it_is_decoded(extension, side, monkeypatch):
    """A few hundred bytes claim up to 20,000 × 20,000 px, which would be 400 MB."""
    data = bytearray(cv2.imencode(extension, SMOOTH)[1].tobytes())
    assert stored_size(memoryview(data)) == (64, 48)
    at = 16 if extension == ".png" else data.index(b"\xff\xc0") + 5
    size = struct.pack(">II" if extension == ".png" else ">HH", side, side)
    data[at : at + len(size)] = size
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match=f"image size is {side}×{side} px; .* 16384 px a side and 67 megapixels"):
        decode_compressed(SimpleNamespace(format="", data=bytes(data)))


def test_an_image_file_of_the_largest_camera_is_decoded():
    largest = compressed(np.zeros((7000, 9344), np.uint8), ".jpg")
    assert decode_compressed(largest).shape == (7000, 9344)


@given(st.binary(max_size=64), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b""]))
def test_no_header_of_a_file_is_read_beyond_its_end(data, beginning):
    stored_size(memoryview(beginning + data))
    with suppress(InputError):
        decode_compressed(SimpleNamespace(format="", data=beginning + data))


@given(st.integers(0, 70000), st.integers(0, 70000), st.integers(0, 2**32 - 1), st.binary(max_size=64))
def test_no_header_reads_beyond_the_data(width, height, step, data):
    message = SimpleNamespace(encoding="bgr8", width=width, height=height, step=step, data=data, is_bigendian=0)
    with suppress(InputError):
        assert decode_image(message).nbytes <= len(data)


@pytest.mark.parametrize("encoding", ["yuv411", "mono10p", "", "nonsense"])
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


def test_a_compressed_12_bit_png_uses_most_of_8_bits():
    decoded = decode_compressed(compressed(GRAY.astype(np.uint16) << 4, ".png"))
    assert np.corrcoef(decoded.ravel(), GRAY.ravel())[0, 1] > 0.999
    assert np.ptp(decoded) > 180


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize(
    "rest", [b"\r\n", b"\xff" * 16, b"0123456789", bytes(100), bytes(20_000), bytes(range(256)) * 40]
)
def test_bytes_after_the_end_of_an_image_do_not_matter(extension, rest):
    """Line ends of multipart streams, fill bytes, the rest of a driver's buffer, a phone's video."""
    message = compressed(SMOOTH, extension)
    expected = decode_compressed(message)
    message.data += rest
    np.testing.assert_array_equal(decode_compressed(message), expected)


def with_thumbnail(jpeg: bytes) -> bytes:
    """An APP1 segment with a small JPEG in it, as EXIF has it."""
    content = b"Exif\0\0" + cv2.imencode(".jpg", SMOOTH[:16, :16])[1].tobytes()
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content + jpeg[2:]


def held(jpeg: bytes, orientation: int) -> bytes:
    """With how the camera was held, as EXIF has it: 6 asks for a rotation by a quarter."""
    directory = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0)
    content = b"Exif\0\0" + directory
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content + jpeg[2:]


@pytest.mark.parametrize("colour", ["gray", "rgb"])
def test_rows_and_columns_are_the_sensors_however_the_camera_was_held(colour):
    """CameraInfo describes these."""
    upright, tilted = compressed(SMOOTH, ".jpg"), compressed(SMOOTH, ".jpg")
    tilted.data = held(upright.data, 6)
    assert cv2.imdecode(np.frombuffer(tilted.data, np.uint8), cv2.IMREAD_COLOR).shape[:2] == SMOOTH.shape[1::-1]
    np.testing.assert_array_equal(decode_compressed(tilted, colour), decode_compressed(upright, colour))


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "with a thumbnail", "png"])
@pytest.mark.parametrize("rest", [b"", bytes(100), bytes(5000)])
def test_cut_off_files_are_refused(kind, rest):
    options = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1) if kind == "progressive" else ()
    data = cv2.imencode(".png" if kind == "png" else ".jpg", SMOOTH, options)[1].tobytes()
    data = with_thumbnail(data) if kind == "with a thumbnail" else data
    decode_compressed(SimpleNamespace(format="", data=data))
    end = 12 if kind == "png" else 1  # bytes without which it is cut
    for kept in (*range(0, len(data) - end, 7), len(data) - end):
        with pytest.raises(InputError, match="cannot be decoded"):
            decode_compressed(SimpleNamespace(format="", data=data[:kept] + rest))


def test_frames_are_the_same_with_and_without_the_slash_of_ros_1():
    assert not other_frames("/camera_optical", "camera_optical", "/camera_optical")
    assert len(other_frames("/camera_optical", "right_optical", "depth_optical")) == 2
    assert not other_frames("", "right_optical", "depth_optical"), "images without a frame are said elsewhere"
    assert not other_frames("camera_optical", "", "")


@pytest.mark.parametrize(
    ("format_name", "decode"), [("h264", decode_compressed), ("16UC1; compressedDepth rvl", decode_compressed_depth)]
)
def test_other_formats_are_said_with_what_decodes_them(format_name, decode):
    with pytest.raises(InputError, match=f"{format_name}'.* no JPEG or PNG; ros2 run image_transport republish"):
        decode(SimpleNamespace(format=format_name, data=bytes(100)))


def test_depth_in_millimetres_and_in_metres():
    metres = np.array([[0.0, 0.5], [1.25, 65.0]], np.float32)
    millimetres = (metres * 1000).astype(np.uint16)
    np.testing.assert_allclose(decode_depth(image(millimetres, "16UC1", 2)), metres)
    np.testing.assert_allclose(decode_depth(image(millimetres.astype(">u2"), "16UC1", is_bigendian=1)), metres)
    np.testing.assert_array_equal(decode_depth(image(metres, "32FC1")), metres)
    assert decode_depth(image(metres, "32FC1")).dtype == np.float32


def test_depth_in_mm_as_32fc1_is_refused_and_a_sky_of_a_simulator_is_not():
    millimetres = np.array([[0, 850, np.nan], [1500, 4000, np.inf]], np.float32)
    with pytest.raises(InputError, match=r"depth is 1500 m \(median\), .* are these mm\?"):
        decode_depth(image(millimetres, "32FC1"))
    sky = np.array([[2.0, 30.0, 1e4]], np.float32)
    np.testing.assert_array_equal(decode_depth(image(sky, "32FC1")), sky)
    assert not decode_depth(image(np.zeros((2, 3), np.float32), "32FC1")).any()
    with pytest.raises(InputError, match="'mono8', expected '16UC1'"):
        decode_depth(image(GRAY, "mono8"))


def test_the_largest_depth_in_millimetres_is_unknown():
    millimetres = np.array([[0, 65534, 65535]], np.uint16)
    metres = [[0, 65.534, 0]]
    np.testing.assert_allclose(decode_depth(image(millimetres, "16UC1", 2)), metres)
    np.testing.assert_allclose(decode_depth(image(millimetres.astype(">u2"), "16UC1", is_bigendian=1)), metres)
    np.testing.assert_allclose(decode_compressed_depth(compressed(millimetres, ".png", "16UC1; png")), metres)
    assert decode_depth(image(millimetres, "16UC1", 2)).dtype == np.float32


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
        ({"roi": SimpleNamespace(x_offset=0, y_offset=400, width=0, height=100)}, "region of interest"),
    ],
)
def test_unusable_camera_info_is_refused(changes, says):
    with pytest.raises(InputError, match=says):
        camera_from_info(info(**changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"k": [0.8, 0, 0.5, 0, 1.1, 0.5, 0, 0, 1]}, "cannot be px of a 640×480 image"),
        ({"k": [4.15, 0, 320, 0, 4.15, 240, 0, 0, 1]}, "normalised\\? mm\\?"),
        ({"k": [500.0, 0, 0, 0, 510.0, 0, 0, 0, 1]}, "principal point is cx=0, cy=0"),
    ],
)
def test_intrinsics_that_are_not_px_are_refused(changes, says):
    with pytest.raises(InputError, match=says):
        camera_from_info(info(**changes))


def test_a_fisheye_with_a_zero_too_many_is_the_model_that_it_means():
    """The T265 publishes equidistant with five coefficients, other drivers call the model fisheye."""
    lens = (0.01, -0.02, 0.003, -0.0004)
    for changes in (
        {"distortion_model": "equidistant", "d": [*lens, 0.0]},
        {"distortion_model": "fisheye", "d": [*lens]},
    ):
        camera = camera_from_info(info(**changes))
        assert (camera.distortion_model, camera.distortion) == ("equidistant", lens)
    assert camera_from_info(info(distortion_model="none", d=[0.0] * 5)).distortion_model == ""
    with pytest.raises(InputError, match="equidistant takes 4 coefficients, got 5"):
        camera_from_info(info(distortion_model="equidistant", d=[*lens, 0.1]))


def test_what_is_odd_but_possible_is_warned_of():
    lens = {"distortion_model": "plumb_bob", "d": [0.1, -0.2, 0.0, 0.0]}
    assert camera_info_problems(info(**lens), "/camera/image_raw") == []
    assert camera_info_problems(info(), "/camera/image_rect") == []
    for topic in ("/camera/image_rect_color", "/camera/image_rect/compressed", "/zed/rgb/color/rect/image"):
        [rectified] = camera_info_problems(info(**lens), topic)
        assert "taken off twice" in rectified
    assert camera_info_problems(info(**lens), "/direct/image_raw") == []
    [fisheye] = camera_info_problems(info(distortion_model="equidistant", d=[0.0] * 4), "/camera/image_raw")
    assert "r = f·θ" in fisheye
    assert camera_info_problems(info(distortion_model="equidistant", d=[0.0] * 4), "/camera/image_rect") == []
    [outside] = camera_info_problems(info(k=[500.0, 0, 900, 0, 510.0, 240, 0, 0, 1]), "/camera/image_raw")
    assert "(900, 240) is outside the 640×480 image" in outside


def test_stamps():
    assert stamp_to_nanoseconds(SimpleNamespace(sec=1305031229, nanosec=528748032)) == 1305031229528748032

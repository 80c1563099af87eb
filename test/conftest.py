"""Fixtures that several test files share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.geometry.axial_flow import axial_from_signed
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres
from image_as_imu_ros.geometry.view import View
from image_as_imu_ros.resources import cache_path

# DDS traffic of this run stays on this machine and apart from that of other runs. Set before anything imports rclpy.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_PROFILE = str(Path(__file__).parents[1] / "config" / "fastdds_large_images.xml")
os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = _PROFILE

# Tests that have the user's cache replaced still share compiled loops: compiling them takes longer than most tests.
os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_path("compiled")))

# Property tests have no time limit per example: first examples load libraries and fill caches, and a busy machine takes
# many times as long as an idle one. In CI the examples are the same in each run: what fails there fails by a change.
settings.register_profile("image_as_imu_ros", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("image_as_imu_ros")

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "recordings"  # beside the repository, not in it

TINY_MODEL_CAMERA = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
TINY_MODEL_RATE = 2.4  # rad/s


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], Path]:
    """Find one of the larger recordings beside the repository by its name; skip the test where it is not there.

    This is the only place where tests look outside the repository for recordings. Three seconds of real frames are in
    it: test/data/desk_rpy_3s.
    """

    def find(name: str) -> Path:
        path = RECORDINGS / name
        if not path.exists():
            pytest.skip(f"the recording {name} is not in ../shared/recordings")
        return path

    return find


@pytest.fixture(scope="session")
def desk_rpy_3s() -> Path:
    """Give the path of the real recording in the repository: 91 frames of a camera rotated by hand over a desk."""
    return Path(__file__).parent / "data" / "desk_rpy_3s"


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    """Initialise rclpy for the tests of one file."""
    rclpy = pytest.importorskip("rclpy")
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A model that takes every image for a pan at |ω_y| = TINY_MODEL_RATE of TINY_MODEL_CAMERA, exposed for 10 ms."""
    onnx = pytest.importorskip("onnx", reason="the package onnx makes the tests' small models")
    from onnx import helper, numpy_helper

    from image_as_imu_ros.engine.model_info import METADATA_KEY, ModelInfo

    info = ModelInfo("tiny", "test", width=320, height=224)
    shape = info.height // info.stride, info.width // info.stride
    view = View.of(TINY_MODEL_CAMERA, info.width, info.height)
    matrix = MotionFieldMatrix.at(view.camera, cell_centres(*shape, info.stride))
    flow = 0.01 * matrix.angular @ (0, TINY_MODEL_RATE, 0)
    outputs = {
        "flow": axial_from_signed(flow.T.reshape(2, *shape)),
        "sigma": np.full((2, *shape), 0.5),
        "depth": np.full((1, *shape), 2.0),
        "depth_sigma": np.full((1, *shape), 0.5),
    }
    arrays = {name: value[None].astype(np.float32) for name, value in outputs.items()}
    graph = helper.make_graph(
        [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(a)) for n, a in arrays.items()],
        "tiny",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 1, info.height, info.width])],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, a.shape) for n, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def conv_model(tmp_path_factory) -> Path:
    """A model with stride 8 whose outputs depend on every pixel: one convolution."""
    onnx = pytest.importorskip("onnx", reason="the package onnx makes the tests' small models")
    from onnx import helper, numpy_helper

    from image_as_imu_ros.engine.model_info import METADATA_KEY, ModelInfo

    info = ModelInfo("conv", "test", width=64, height=48, stride=8, mean=(0.5,), std=(0.25,), sigma_scale=(2.0, 3.0))
    shape = [info.height // info.stride, info.width // info.stride]
    weights = np.random.default_rng(0).normal(0, 0.1, (6, 1, 8, 8)).astype(np.float32)
    channels = {"flow": 2, "sigma": 2, "depth": 1, "depth_sigma": 1}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights"], ["features"], strides=[8, 8]),
            helper.make_node("Split", ["features", "channels"], list(channels), axis=1),
        ],
        "conv",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 1, info.height, info.width])],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, c, *shape]) for n, c in channels.items()],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([*channels.values()]), "channels"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    path = tmp_path_factory.mktemp("models") / "conv.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """An empty folder for plans in place of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "image_as_imu" / "plans"


def pytest_sessionstart(session):
    """Compile the loops, where that was never done, before any test waits for a node that would have to."""
    compiled.load()


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write test/data/golden.json anew")

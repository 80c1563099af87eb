"""Transitions of the node, in this process: what each creates, the next one takes away."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from camera_process import PATIENCE, CameraWithEars
from conftest import TINY_MODEL_RATE
from gpu_machine import GpuMachine
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, Imu

import image_as_imu_ros.nodes.blur_imu_node as module
from image_as_imu_ros.engine.cuda import why_no_gpu
from image_as_imu_ros.engine.model_files.target import what_is_missing
from image_as_imu_ros.nodes import outputs
from image_as_imu_ros.nodes.buffers import Received
from image_as_imu_ros.nodes.inputs import stream_problems

pytestmark = pytest.mark.usefixtures("ros")

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@pytest.fixture
def make_node():
    nodes = []

    def make(**parameters) -> module.BlurImuNode:
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        nodes.append(module.BlurImuNode(namespace="/lifecycle", parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def pipeline_threads() -> int:
    return sum(thread.name.startswith("blur_imu_") for thread in threading.enumerate())


def entities(node) -> list[int]:
    return [len([*items]) for items in (node.publishers, node.subscriptions, node.timers, node.services)]


def test_fifty_cycles_leave_nothing_behind(make_node, tiny_model):
    node = make_node(model=str(tiny_model))
    empty, threads = entities(node), threading.active_count()
    for _ in range(50):
        assert node.trigger_configure() == SUCCESS
        assert len([*node.subscriptions]) == empty[1]
        assert node.trigger_activate() == SUCCESS
        assert pipeline_threads() == 2
        assert node.trigger_deactivate() == SUCCESS
        assert pipeline_threads() == 0
        assert node.trigger_cleanup() == SUCCESS
        assert entities(node) == empty
    assert threading.active_count() <= threads + 2  # ONNX Runtime and DDS may keep one of their own


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_shutdown_from_any_state(make_node, tiny_model, steps):
    node = make_node(model=str(tiny_model))
    empty = entities(node)
    for step in (node.trigger_configure, node.trigger_activate)[:steps]:
        assert step() == SUCCESS
    assert node.trigger_shutdown() == SUCCESS
    assert pipeline_threads() == 0
    assert entities(node) == empty


def test_destroying_an_active_node_ends_its_pipeline(make_node, tiny_model):
    node = make_node(model=str(tiny_model), autostart=True)
    assert node.start()
    node.destroy_node()
    assert pipeline_threads() == 0


@pytest.mark.parametrize("content", [None, b"", b"this is not ONNX"])
def test_a_model_that_cannot_be_used_fails_configuration(make_node, tmp_path, content):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    node = make_node(model=str(path))
    empty = entities(node)
    assert node.trigger_configure() == FAILURE
    assert entities(node) == empty


def test_engine_tensorrt_without_a_gpu_fails_configuration_with_one_line(make_node, tiny_model, capfd):
    if not what_is_missing():
        pytest.skip("TensorRT, PyCUDA and a GPU are here")
    node = make_node(model=str(tiny_model), engine="tensorrt")
    empty = entities(node)
    capfd.readouterr()
    assert node.trigger_configure() == FAILURE
    assert entities(node) == empty
    [line] = [line for line in capfd.readouterr().err.splitlines() if "[blur_imu_node]" in line or "blur_imu" in line]
    assert "cannot be configured: engine tensorrt cannot be used here: no " in line


def test_engine_auto_says_in_the_log_why_it_is_onnx_runtime(make_node, tiny_model, capfd):
    if why_no_gpu() is None:
        pytest.skip("there is a GPU")
    node = make_node(model=str(tiny_model), engine="auto")
    capfd.readouterr()
    assert node.trigger_configure() == SUCCESS
    said = capfd.readouterr().err
    assert "engine auto: engine tensorrt cannot be used here: no " in said
    assert "engine auto: ONNX Runtime on the CPU it is" in said
    assert "engine onnxruntime (CPU, " in said


def test_a_parameter_by_its_former_name_is_warned_of_and_not_declared(make_node, capfd):
    node = make_node(direction="centered")
    [line] = [line for line in capfd.readouterr().err.splitlines() if "direction" in line]
    assert "[WARN]" in line
    assert line.endswith("parameter direction has no effect: its name is now sign_resolution")
    assert not node.has_parameter("direction")
    assert node.settings.sign_resolution == "causal"
    make_node(sign_resolution="centered")
    assert "has no effect" not in capfd.readouterr().err


def test_a_missing_message_package_fails_configuration(make_node, tiny_model):
    node = make_node(model=str(tiny_model), exposure_source="realsense", exposure_unit="100us")
    if node.trigger_configure() == SUCCESS:
        pytest.skip("realsense2_camera_msgs is installed")


def test_tensorrt_answers_from_the_pipeline_and_every_cleanup_frees_the_gpu(
    make_node, tiny_model, monkeypatch, own_cache
):
    gpu = GpuMachine()
    gpu.install(monkeypatch)
    node = make_node(model=str(tiny_model), engine="tensorrt", exposure_time=0.01, motion_model="rotation")
    camera = CameraWithEars(namespace="/lifecycle")
    for _ in range(3):
        assert node.start()
        assert len(gpu.memory) == 10
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinning = threading.Thread(target=executor.spin, daemon=True)
        spinning.start()
        camera.wait_for_node()
        camera.info = camera.info_message()
        camera.imus.clear()
        camera.play_until(lambda: len(camera.imus) > 1, "answers")
        executor.shutdown()
        spinning.join()
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        gc.collect()
        assert not gpu.memory
        assert not gpu.alive
    assert len(gpu.builds) == 1
    camera.close()


def test_an_impossible_transition_is_answered(make_node, tiny_model):
    node = make_node(model=str(tiny_model))
    client_node = rclpy.create_node("client", namespace="/lifecycle")
    change = client_node.create_client(ChangeState, "blur_imu_node/change_state")
    get = client_node.create_client(GetState, "blur_imu_node/get_state")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(client_node)

    def call(client, request):
        assert client.wait_for_service(PATIENCE)
        future = client.call_async(request)
        executor.spin_until_future_complete(future, PATIENCE)
        return future.result()

    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE))
    assert not call(change, request).success
    assert call(get, GetState.Request()).current_state.label == "unconfigured"
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert call(change, request).success
    assert call(get, GetState.Request()).current_state.label == "inactive"
    executor.shutdown()
    client_node.destroy_node()


def test_nothing_is_drawn_without_a_subscriber(make_node, tiny_model, monkeypatch):
    drawn = []
    draw = outputs.draw_overlay
    monkeypatch.setattr(outputs, "draw_overlay", lambda *arguments: drawn.append(1) or draw(*arguments))
    node = make_node(model=str(tiny_model), exposure_time=0.01, motion_model="rotation", diagnostics_period=0.2)
    assert node.start()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    threading.Thread(target=executor.spin, daemon=True).start()
    camera = CameraWithEars(namespace="/lifecycle")
    camera.wait_for_node()
    camera.info = camera.info_message()

    camera.play_until(lambda: len(camera.imus) > 2, "answers")
    assert not drawn
    subscription = camera.node.create_subscription(Image, "debug/image", camera.debug_images.append, 10)
    camera.play_until(lambda: camera.debug_images, "a debug image")
    camera.destroy(subscription)
    camera.wait_until(lambda: camera.node.count_subscribers("debug/image") == 0, "no subscriber")

    def drawn_meanwhile() -> int:
        before = len(drawn)
        camera.imus.clear()
        camera.play_until(lambda: len(camera.imus) > 1, "answers")
        return len(drawn) - before

    camera.wait_until(lambda: drawn_meanwhile() == 0, "an end of the drawing")
    camera.close()
    executor.shutdown()


def test_a_parameter_that_changes_while_a_frame_is_in_the_pipeline_is_for_the_next_one(make_node, tiny_model):
    """The frame was made with the former exposure: a new estimator would take it for its first guess."""
    node = make_node(model=str(tiny_model), exposure_source="estimate", exposure_time=0.01)
    assert node.trigger_configure() == SUCCESS
    node._on_camera_info(
        CameraInfo(width=320, height=224, k=[300.0, 0.0, 160.0, 0.0, 300.0, 112.0, 0.0, 0.0, 1.0], d=[0.0] * 5)
    )
    former, image = node._estimator, Image(width=320, height=224, encoding="mono8", step=320, data=bytes(320 * 224))
    image.header.stamp.sec = 5
    inferred = node._infer(Received(image, 0.0))
    assert node.set_parameters([Parameter("exposure_time", value=0.03)])[0].successful
    assert node._estimator is not former
    node._answer(inferred)
    assert former._last is not None
    assert node._estimator._last is None


def test_the_first_image_of_a_centered_sequence_waits_for_the_next_one(make_node, tiny_model):
    node = make_node(model=str(tiny_model), exposure_time=0.01, sign_resolution="centered", publish_unresolved=True)
    assert node.trigger_configure() == SUCCESS
    node._on_camera_info(
        CameraInfo(width=320, height=224, k=[300.0, 0.0, 160.0, 0.0, 300.0, 112.0, 0.0, 0.0, 1.0], d=[0.0] * 5)
    )
    noise = np.random.default_rng(0)
    for number in range(3):
        image = Image(width=320, height=224, encoding="mono8", step=320, data=noise.bytes(320 * 224))
        image.header.stamp.sec, image.header.stamp.nanosec = 5, 100_000_000 * number
        node._answer(node._infer(Received(image, 0.0)))
    values = node._health.report("", [], {}).values
    counts = [values.get(what) for what in ("published", "waiting for the next image", "exposure too uncertain")]
    assert counts == ["2", "1", None]


@pytest.mark.parametrize(("name", "value"), [("stamp_reference", "end"), ("readout_time", 0.03)])
def test_frames_before_and_after_a_change_of_what_stamps_mean_are_not_compared(make_node, tiny_model, name, value):
    """Mid-exposure moves, and dt between the two with it: an aligned velocity would be wrong by that."""
    node = make_node(
        model=str(tiny_model),
        exposure_time=0.01,
        measurement="aligned",
        motion_model="rotation",
        stamp_reference="start",
    )
    assert node.trigger_configure() == SUCCESS
    camera = CameraWithEars(namespace="/lifecycle")
    node._on_camera_info(camera.info_message())
    for number in range(8):
        if number == 6:
            assert node.set_parameters([Parameter(name, value=value)])[0].successful
        node._answer(node._infer(Received(camera.image_message(), 0.0)))
        if number in (5, 7):
            rate = node._last_estimate.recent(1.0).velocity.angular[1]
            assert rate == pytest.approx(TINY_MODEL_RATE, rel=0.15)
        if number == 6:
            assert node._last_estimate.recent(1.0) is None
    camera.close()


def test_publishers_are_counted_on_the_topics_that_the_node_is_remapped_to(tiny_model):
    names = {"image": "/left/image_raw", "camera_info": "/left/camera_info", "imu/data_raw": "/camera_imu"}
    remapped = ["--ros-args", *(word for name in names.items() for word in ("-r", ":=".join(name)))]
    node = module.BlurImuNode(namespace="/remapped", cli_args=remapped)
    others = rclpy.create_node("others", namespace="/remapped")
    types = (Image, CameraInfo, Imu)
    for topic, message_type in zip(names, types, strict=True):
        for _ in range(2):
            others.create_publisher(message_type, topic, 1)
    assert not stream_problems(node, node.settings, None, None, "")
    for topic, message_type in zip(names.values(), types, strict=True):
        for _ in range(2):
            others.create_publisher(message_type, topic, 1)
    problems = stream_problems(node, node.settings, None, None, "")
    assert [problem.split(":")[0] for problem in problems] == [
        "/left/image_raw has 2 publishers",
        "/left/camera_info has 2 publishers",
        "/camera_imu has 2 publishers",
    ]
    others.destroy_node()
    node.destroy_node()

"""One run of the demo: camera and node in processes of their own, this process listens to the answers."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions

from image_as_imu_ros.demo import camera_publisher
from image_as_imu_ros.demo.child import Child, DemoError
from image_as_imu_ros.demo.listener import Listener
from image_as_imu_ros.demo.motion import LEVER_ARM
from image_as_imu_ros.demo.recording import EXPOSURE, RATE, open_recording
from image_as_imu_ros.demo.report import Comparison, live_line
from image_as_imu_ros.estimation.config import MotionModel

_PATIENCE = 60.0  # s for the camera to start on a busy machine
_NODE_PATIENCE = 300.0  # s for each step of the node; building an engine for a GPU takes its time
_LATE = 2.0  # s for the last answers and one more diagnostics message


@dataclass(frozen=True)
class Run:
    """What to play and how: the file and number of frames, with depth or without, and parameters of the node."""

    recording: Path
    frames: int
    depth: bool
    model: Path
    motion_model: MotionModel
    logs: Path


def play(run: Run) -> tuple[Comparison, dict[str, str]]:
    """Play the recording into the node, print a line per second.

    Returns:
        The answers beside ground truth, and the node's last diagnostics.

    Raises:
        DemoError: a process fails, or nothing comes back.
    """
    # Without rclpy's own handlers, Ctrl-C is the KeyboardInterrupt that ends the children. Without the program's
    # arguments, which rclpy refuses where they are not UTF-8.
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        with _start_node(run) as node:
            listener = Listener()
            try:
                listener.activate(node.check, _NODE_PATIENCE)
            except DemoError as error:
                raise DemoError(f"{error}; its last words:\n{node.last_output()}") from None
            with _start_camera(run) as camera:
                comparison = _listen(run, listener, node, camera)
        if not comparison.answered.any():
            raise DemoError(f"no answer to any of {run.frames} frames; the node's last words:\n{node.last_output()}")
        return comparison, listener.diagnostics
    finally:
        rclpy.shutdown()


def _start_node(run: Run) -> Child:
    parameters = {
        "model": run.model,
        "motion_model": run.motion_model,
        "exposure_time": EXPOSURE,
        "lever_arm": LEVER_ARM,
        "stamp_reference": "start",
        "depth_transport": "raw" if run.depth else "none",
    }
    arguments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    return Child(
        "the node", "image_as_imu_ros", ["blur_imu_node", "--ros-args", *arguments], run.logs / "blur_imu_node.log"
    )


def _start_camera(run: Run) -> Child:
    arguments = [str(run.recording), str(run.frames), *(["depth"] if run.depth else [])]
    return Child("the camera", camera_publisher.__name__, arguments, run.logs / "camera.log")


def _listen(run: Run, listener: Listener, node: Child, camera: Child) -> Comparison:
    recording = open_recording(run.recording, run.frames)
    start = _wait_for_first_frame(listener, node, camera)
    second = 0
    while not camera.done:
        node.check()
        listener.spin(0.1)
        # A second is over when the answers to its last frame have had time to arrive.
        if time.time_ns() * 1e-9 > start * 1e-9 + second + 1.25 and second < run.frames / RATE:
            print(live_line(Comparison.of(listener.answers, start, recording, run.motion_model), second), flush=True)
            second += 1
    listener.spin(_LATE)
    return Comparison.of(listener.answers, start, recording, run.motion_model)


def _wait_for_first_frame(listener: Listener, node: Child, camera: Child) -> int:
    """Wait until the camera says when its first frame will be: the stamp of the recording's time 0, ns."""
    pattern = re.compile(camera_publisher.FIRST_FRAME.format(r"(\d+)"))
    deadline = time.monotonic() + _PATIENCE
    while not (found := pattern.search(camera.output())):
        node.check()
        camera.check()
        if time.monotonic() > deadline:
            raise DemoError(f"the camera did not start within {_PATIENCE:g} s; its last words:\n{camera.last_output()}")
        listener.spin(0.05)
    return int(found[1])

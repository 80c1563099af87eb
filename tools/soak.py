"""Play real frames into the node for half an hour: its memory, its share of the CPU, its latencies, each image's fate.

    python tools/soak.py [--minutes 30] [--rate 30] [--threads 0]

The node runs in a process of its own with the shipped model. The frames of test/data/desk_rpy_3s (640×480, mono) are
played forwards and backwards, so that the motion goes on, under stamps of this machine's clock. A latency is the time
from publishing an image to hearing the Imu message that it led to.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, Imu

from image_as_imu_ros.demo.child import Child
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import resource

FRAMES = Path(__file__).parents[1] / "test/data/desk_rpy_3s"
EXPOSURE = 0.0184  # s, of those frames (docs/accuracy.md)
WARM_UP = 300.0  # s during which libraries, caches and allocators may still grow
SAMPLING = 5.0  # s between samples of the memory
REPORTING = 24  # samples of the memory from one that is printed to the next
PATIENCE = 120.0  # s for the node to start on a busy machine


class Camera:
    """Publishes frames, and hears what the node makes of them. Times are ns of the system clock."""

    def __init__(self) -> None:
        self._node = Node("soak")
        self._images = self._node.create_publisher(Image, "image", qos_profile_sensor_data)
        self._infos = self._node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self._node.create_subscription(Imu, "imu/data_raw", self._on_imu, QoSProfile(depth=100))
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=10))
        self._sent: list[int] = []  # the images' stamps, which are the times of their publishing
        self._latencies: dict[int, float] = {}  # ms, by the image's number
        self.counts: dict[str, str] = {}  # the node's latest diagnostics

    def _on_imu(self, message: Imu) -> None:
        # An aligned velocity is stamped between two frames: the first image from there on led to it.
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        image = bisect_left(self._sent, stamp)
        self._latencies.setdefault(image, (time.time_ns() - self._sent[image]) * 1e-6)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.counts = {entry.key: entry.value for status in message.status for entry in status.values}

    def wait_for_node(self, node: Child) -> None:
        """Wait until the node listens."""
        deadline = time.monotonic() + PATIENCE
        while not self._images.get_subscription_count():
            node.check()
            if time.monotonic() > deadline:
                raise SystemExit(f"the node does not listen after {PATIENCE:g} s:\n{node.last_output()}")
            self.spin(0.1)

    def spin(self, seconds: float) -> None:
        """Receive for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            rclpy.spin_once(self._node, timeout_sec=left)

    def publish(self, image: Image, info: CameraInfo) -> None:
        """Publish a frame under a stamp of now."""
        now = time.time_ns()
        for message in (info, image):
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
            message.header.frame_id = "camera_optical"
        self._sent.append(now)
        self._infos.publish(info)
        self._images.publish(image)

    def report(self, memory: list[tuple[float, float]], share: float) -> str:
        """Say what was seen, given (seconds, MB) of the node's memory, and its share of a core."""
        if not self._latencies:
            return "the node published no velocity"
        seconds, megabytes = np.transpose([sample for sample in memory if sample[0] >= WARM_UP] or memory)
        slope = np.polyfit(seconds / 3600, megabytes, 1)[0]
        latencies = np.array([self._latencies[image] for image in sorted(self._latencies)])
        p50, p95, p99 = np.percentile(latencies, (50, 95, 99))
        first, *_, last = (np.median(part) for part in np.array_split(latencies, 4))
        refused = {key: value for key, value in self.counts.items() if key.startswith("refused: ")}
        counted = ", ".join(f"{what} {self.counts.get(what, 0)}" for what in ("received", "published", "overwritten"))
        return (
            f"sent {len(self._sent)}, velocities heard {len(self._latencies)}; the node counts: {counted}, {refused}\n"
            f"latency p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms; p50 of the first quarter {first:.1f}, "
            f"of the last {last:.1f} ms\n"
            f"CPU {100 * share:.0f} % of one core\n"
            f"memory {memory[0][1]:.1f} MB at first, {megabytes[0]:.1f} after warm-up, {megabytes[-1]:.1f} at the end, "
            f"slope {slope:+.2f} MB/h over {seconds[-1] - seconds[0]:.0f} s\n"
            f"load averages of {os.cpu_count()} cores: " + ", ".join(f"{load:.1f}" for load in os.getloadavg())
        )


def frames(path: Path) -> Iterator[Image]:
    """Read the frames of a recording, each as a message to publish."""
    with Recording(path) as recording:
        topic = recording.image_topic()
        for frame in recording.frames(topic, recording.camera_info_topic(topic)):
            pixels = frame.decode_image("gray")
            height, width = pixels.shape
            data = array("B")
            data.frombytes(pixels.tobytes())
            yield Image(height=height, width=width, encoding="mono8", step=width, data=data)


def camera_info(path: Path) -> CameraInfo:
    """Read the calibration of a recording's camera."""
    with Recording(path) as recording:
        topic = recording.image_topic()
        camera = next(iter(recording.frames(topic, recording.camera_info_topic(topic)))).camera()
    info = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob")
    info.d = array("d", [0.0] * 5)
    info.k = np.array([camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1])
    return info


def resident_megabytes(process: int) -> float:
    """Read how much memory a process holds, MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(process: int) -> float:
    """Read for how long a process has been computing, s, all its threads together."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def soak(camera: Camera, node: Child, minutes: float, rate: float) -> tuple[list[tuple[float, float]], float]:
    """Play, and return (seconds since the start, MB) of the node's memory, and its share of a core."""
    forwards, info = [*frames(FRAMES)], camera_info(FRAMES)
    loop = forwards + forwards[-2:0:-1]
    memory: list[tuple[float, float]] = []
    start, computed = time.monotonic(), cpu_seconds(node.pid)
    for number in range(round(minutes * 60 * rate)):
        camera.spin(start + number / rate - time.monotonic())
        node.check()
        if (now := time.monotonic() - start) >= len(memory) * SAMPLING:
            memory.append((now, resident_megabytes(node.pid)))
            if len(memory) % REPORTING == 1:
                print(f"{now / 60:5.1f} min: {memory[-1][1]:.1f} MB", flush=True)
        camera.publish(loop[number % len(loop)], info)
    share = (cpu_seconds(node.pid) - computed) / (time.monotonic() - start)
    camera.spin(2.0)  # the last answers, and one more diagnostics message
    return memory, share


def main() -> None:
    """Print one report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="(default: %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="the node's parameter (default: %(default)s)")
    arguments = parser.parse_args()
    for variable in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        os.environ.setdefault(variable, str(resource("config/fastdds_large_images.xml")))
    settings = {"autostart": "true", "exposure_time": EXPOSURE, "threads": arguments.threads}
    parameters = [word for name, value in settings.items() for word in ("-p", f"{name}:={value}")]
    rclpy.init()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "blur_imu_node.log"
        with Child("the node", "image_as_imu_ros", ["blur_imu_node", "--ros-args", *parameters], log) as node:
            camera = Camera()
            camera.wait_for_node(node)
            memory, share = soak(camera, node, arguments.minutes, arguments.rate)
            print(f"the end of the node's log:\n{node.last_output()}")
            print(camera.report(memory, share))
    rclpy.shutdown()


if __name__ == "__main__":
    main()

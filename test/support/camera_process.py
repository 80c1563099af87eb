"""For tests of the node: the node in a process of its own, and a camera with ears beside it in this one."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import conftest
import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped, TwistWithCovarianceStamped
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu

PATIENCE = 120.0  # s; for loaded machines
LOST = 1.0  # s without an effect after which a message may have been lost: images are best effort
PERIOD = 33_000_000  # ns between images
WIDTH, HEIGHT = conftest.TINY_MODEL_CAMERA.width, conftest.TINY_MODEL_CAMERA.height
TEXTURE = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (HEIGHT, 4 * WIDTH), np.uint8), (0, 0), 6)
TEXTURE = cv2.normalize(TEXTURE, None, 0, 255, cv2.NORM_MINMAX)


class Log:
    """What a node has logged so far."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def text(self) -> str:
        return self._path.read_text()

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Severity and text of each line."""
        return re.findall(r"^\[(\w+)\] \[[\d.]+\] \[\S+\]: (.*)$", self.text, re.MULTILINE)

    def warnings(self, since: float = 0.0, until: float = math.inf) -> list[str]:
        """Lines with severity WARN or ERROR of a time, s of the node's clock."""
        stamped = re.findall(r"^\[(?:WARN|ERROR)\] \[([\d.]+)\] \[\S+\]: (.*)$", self.text, re.MULTILINE)
        return [line for time, line in stamped if since < float(time) < until]

    def time_of(self, text: str) -> float:
        """When a line was logged, s of the node's clock."""
        return float(re.findall(rf"^\[\w+\] \[([\d.]+)\] \[\S+\]: {re.escape(text)}", self.text, re.MULTILINE)[0])

    def find(self, severity: str, text: str) -> list[str]:
        return [line for level, line in self.lines if level == severity and text in line]

    def wait_for(self, severity: str, text: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while not self.find(severity, text):
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)
        return self.find(severity, text)[0]


def node_command(*parameters: str, namespace: str = "/") -> list[str]:
    """Say how to run blur_imu_node, active, with `name:=value` parameters; its log shows what was unexpected."""
    arguments = [item for parameter in ("autostart:=true", *parameters) for item in ("-p", parameter)]
    logger = ".".join([*namespace.strip("/").split("/"), "blur_imu_node"]).strip(".")
    arguments += ["-r", f"__ns:={namespace}", "--log-level", f"{logger}:=debug"]
    return [sys.executable, "-m", "image_as_imu_ros", "blur_imu_node", "--ros-args", *arguments]


@contextmanager
def node_process(*parameters: str, namespace: str = "/") -> Iterator[Log]:
    """Run `node_command`, with its log in a file. The node must run on, and end cleanly when asked to."""
    with tempfile.NamedTemporaryFile(suffix=".log") as file:
        process = subprocess.Popen(node_command(*parameters, namespace=namespace), stderr=file)
        log = Log(Path(file.name))
        try:
            yield log
            assert process.poll() is None, log.text
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0, log.text
            assert "Traceback" not in log.text, log.text
        finally:
            process.kill()
            process.wait()


class CameraWithEars:
    """Publishes images of a camera that pans, and collects what the node publishes.

    Attributes:
        info: published with each image that is played, as drivers do: a message may be lost, as the node's
            subscriptions are best effort. None: nothing is published on camera_info.
    """

    def __init__(self, image_type: type = Image, namespace: str = "/", exposure_type: type = PointStamped) -> None:
        self.node = rclpy.create_node("camera_with_ears", namespace=namespace)
        self._node_name = f"{namespace}/blur_imu_node".lstrip("/")
        self.images = self.node.create_publisher(image_type, "image", 10)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", 10)
        self.info: CameraInfo | None = None
        self.depths = self.node.create_publisher(Image, "depth", 10)
        self.exposures = self.node.create_publisher(exposure_type, "exposure", 10)
        self.imus: dict[int, Imu] = {}
        self.twists: dict[int, TwistWithCovarianceStamped] = {}
        self.diagnostics: list = []
        self.debug_images: list[Image] = []
        self._heard = 0  # velocities
        self._pause = PERIOD * 1e-9  # s to wait for an answer
        self._hear(Imu, "imu/data_raw", self._on_imu)
        self._hear(
            TwistWithCovarianceStamped, "twist", lambda message: self.twists.update({stamp_of(message): message})
        )
        self._hear(DiagnosticArray, "/diagnostics", self._on_diagnostics)
        self.set_parameters_client = self.node.create_client(SetParameters, "blur_imu_node/set_parameters")
        self.stamp = 1_700_000_000_000_000_000
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def _hear(self, message_type: type, topic: str, callback: Callable):
        return self.node.create_subscription(message_type, topic, callback, 10)

    def _on_imu(self, message: Imu) -> None:
        self.imus[stamp_of(message)] = message
        self._heard += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics += [status for status in message.status if status.name.startswith(self._node_name)]

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()

    @property
    def node_says(self) -> str:
        """The message of the node's latest diagnostics, and what it has counted."""
        if not self.diagnostics:
            return "nothing"
        last = self.diagnostics[-1]
        counts = ", ".join(f"{entry.key} {entry.value}" for entry in last.values if entry.value.isdigit())
        return f"{last.message} ({counts})"

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}; the node says: {self.node_says}"
            time.sleep(0.005)

    def play(self, publish: Callable[[], object]) -> None:
        """Publish an image in 30ths of a second, or as fast as the node answers where the machine is busy.

        Images that it skips would leave it with pairs that are far apart, and nothing to say about most of them.
        """
        heard, published = self._heard, time.monotonic()
        self._publish_info()
        publish()
        while self._heard == heard and time.monotonic() - published < self._pause:
            time.sleep(0.002)
        self._pause = PERIOD * 1e-9 if self._heard > heard else min(1.5 * self._pause, LOST)
        time.sleep(max(0.0, published + PERIOD * 1e-9 - time.monotonic()))

    def _publish_info(self) -> None:
        if self.info is not None:
            self.infos.publish(self.info)

    def play_until(
        self, condition: Callable[[], object], what: str, publish: Callable[[], object] | None = None
    ) -> None:
        """Play one image after the other."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"played in vain for {what}; the node says: {self.node_says}"
            self.play(publish or (lambda: self.images.publish(self.image_message())))

    def wait_for_node(self) -> None:
        """Wait until the node is active and hears this camera."""
        outputs = ("imu/data_raw", "twist", "/diagnostics")
        self.wait_until(
            lambda: (
                self.images.get_subscription_count()
                and self.infos.get_subscription_count()
                and all(self.node.count_publishers(topic) for topic in outputs)
                and self.diagnostics
            ),
            "the node",
        )

    def pixels(self) -> np.ndarray:
        """Crop (480, 640) uint8 of the texture as seen now, while the camera rotates with TINY_MODEL_RATE about y."""
        seconds = (self.stamp // PERIOD % 40) * PERIOD * 1e-9
        offset = round(conftest.TINY_MODEL_CAMERA.fx * conftest.TINY_MODEL_RATE * seconds)
        return np.ascontiguousarray(TEXTURE[:, offset : offset + WIDTH])

    def info_message(self, **changes) -> CameraInfo:
        camera = conftest.TINY_MODEL_CAMERA
        message = CameraInfo(width=camera.width, height=camera.height, **changes)
        message.k = np.array([camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1])
        return message

    def image_message(self, **changes) -> Image:
        """Make an Image of the next moment."""
        self.stamp += PERIOD
        data = array("B")
        data.frombytes(self.pixels().data)
        fields = {"encoding": "mono8", "width": WIDTH, "height": HEIGHT, "step": WIDTH, "data": data}
        return self.stamped(Image(**{**fields, **changes}))

    def compressed_message(self) -> CompressedImage:
        """Make a JPEG of the next moment."""
        self.stamp += PERIOD
        data = array("B")
        data.frombytes(cv2.imencode(".jpg", self.pixels())[1].data)
        return self.stamped(CompressedImage(format="jpeg", data=data))

    def stamped(self, message, stamp: int | None = None):
        seconds, nanoseconds = divmod(self.stamp if stamp is None else stamp, 10**9)
        message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
        message.header.frame_id = "camera_optical"
        return message

    def publish_until(self, publish: Callable[[], object], condition: Callable[[], object], what: str) -> None:
        """Publish, and again where that may have been lost, until something is seen of it."""
        deadline, published = time.monotonic() + PATIENCE, -math.inf
        while not condition():
            now = time.monotonic()
            assert now < deadline, f"waited in vain for {what}; the node says: {self.node_says}"
            if now - published > LOST:
                self._publish_info()
                publish()
                published = now
            time.sleep(0.005)

    def ask(self, offset: int) -> tuple[Imu, TwistWithCovarianceStamped]:
        """Publish an image and wait for the Imu and Twist stamped `offset` ns later; the next where one is lost.

        After a lost image, or several that a busy machine skips, the sign of one may be open: the next one's is not.
        """
        asked: list[int] = []

        def publish() -> None:
            self.images.publish(self.image_message())
            asked.append(self.stamp + offset)

        def answered() -> list[int]:
            return [stamp for stamp in asked if stamp in self.imus and stamp in self.twists]

        self.publish_until(publish, answered, "Imu and Twist")
        return self.imus[answered()[0]], self.twists[answered()[0]]

    def destroy(self, entity: Publisher | Subscription) -> None:
        """End a publisher or subscription, in the thread that waits for its events: another would break that."""
        end = self.node.destroy_publisher if isinstance(entity, Publisher) else self.node.destroy_subscription
        task = self._executor.create_task(end, entity)
        self.wait_until(task.done, "the end of a publisher or subscription")

    def diagnostic(self, key: str) -> str:
        """Find the latest value of an entry of the node's diagnostics; empty if it is not there."""
        values = {entry.key: entry.value for entry in self.diagnostics[-1].values} if self.diagnostics else {}
        return values.get(key, "")

    def count(self, what: str) -> int:
        """Read one of the counts in the node's latest diagnostics."""
        return int(self.diagnostic(what) or 0)

    def refusals(self) -> int:
        """Count what the node has refused, for any reason."""
        return sum(int(entry.value) for entry in self.diagnostics[-1].values if entry.key.startswith("refused: "))

    def set_parameter(self, name: str, value) -> tuple[bool, str]:
        """Set a parameter; tell whether the node took it, and its reason."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        assert self.set_parameters_client.wait_for_service(PATIENCE)
        future = self.set_parameters_client.call_async(request)
        self.wait_until(future.done, "the node's answer")
        result = future.result().results[0]
        return result.successful, result.reason


def stamp_of(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec

"""The demo as users run it: three processes and real DDS."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source ROS 2 or pip install '.[ros]'")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """With a recording cache for the tests of this file."""
    return os.environ | {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "image_as_imu_ros", "demo", "--seconds", "1.5", *map(str, arguments)]


def run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=3000,
    )


def children(pid: int) -> list[int]:
    """Without the helper of Python's multiprocessing, which a progress bar may have started."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in found if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_it_ends_with_a_table_and_two_images(environment, tiny_model, tmp_path):
    tmp_path /= os.fsdecode(b"demo\xff")  # names of folders need not be UTF-8
    result = run(environment, "--model", tiny_model, "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"^ +\d s .*latency .*ω estimated .*true", result.stdout, re.MULTILINE)) >= 1
    for row in ("ω  RMS error", "v  RMS error", "sign correct", "latency p50, p95"):
        assert row in result.stdout
    answered, aligned, single = re.search(
        r"^frames answered +(\d+) of 45: (\d+) aligned, (\d+) single", result.stdout, re.MULTILINE
    ).groups()
    assert int(answered) == int(aligned) + int(single)
    assert "note: v rests on the network's depth" in result.stdout
    lost = int(re.search(r"^frames lost +(\d+)", result.stdout, re.MULTILINE)[1])
    assert lost < 45, result.stdout  # how many depends on what else the machine does
    for name in ("time_series.png", "streaks.png"):
        assert str(tmp_path / name) in result.stdout
        image = cv2.imdecode(np.fromfile(tmp_path / name, np.uint8), cv2.IMREAD_COLOR)
        assert min(image.shape[:2]) >= 400


def test_a_node_that_cannot_start_is_named_with_its_last_words(environment, tmp_path):
    model = tmp_path / "broken.onnx"
    model.write_bytes(b"not a model")
    result = run(environment, "--model", model, "--output", tmp_path)
    assert result.returncode == 1
    assert "blur_imu_node refused to be configured" in result.stderr
    assert "broken.onnx" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_node_that_dies_ends_the_demo(environment, tiny_model, tmp_path):
    with started(environment, tiny_model, tmp_path) as demo:
        for child in children(demo.pid):
            if "blur_imu_node" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(child, signal.SIGKILL)
        errors = demo.communicate(timeout=300)[1]
    assert demo.returncode == 1
    assert "the node ended with exit code -9" in errors


def test_an_interrupt_ends_all_processes(environment, tiny_model, tmp_path):
    for attempt in range(5):  # on a busy machine the demo may be over before the signal comes
        with started(environment, tiny_model, tmp_path / str(attempt)) as demo:
            others = children(demo.pid)
            demo.send_signal(signal.SIGINT)
            errors = demo.communicate(timeout=300)[1]
        if demo.returncode != 0:
            break
    assert demo.returncode == 130
    assert len(others) == 2
    assert "Traceback" not in errors
    assert not any(Path(f"/proc/{child}").exists() for child in others)


def test_an_interrupt_while_rendering_leaves_nothing_behind(environment, tiny_model, tmp_path):
    demo = subprocess.Popen(
        command("--model", tiny_model, "--output", tmp_path),
        cwd=ROOT,
        env=environment | {"XDG_CACHE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.unfinished")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    os.killpg(demo.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    errors = demo.communicate(timeout=300)[1]
    assert demo.returncode == 130
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("demo-*"))


def heed_interrupts() -> None:
    """End by an interrupt, also where the tests themselves are started in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(environment: dict[str, str], model: Path, output: Path) -> subprocess.Popen:
    """A demo whose camera plays."""
    demo = subprocess.Popen(
        command("--model", model, "--output", output),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    log, deadline = output / "camera.log", time.monotonic() + 600
    while not (log.exists() and "first frame" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return demo


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--seconds", "0"), "--seconds is 0, expected 1 to 10"),
        (("--seconds", "nan"), "--seconds is nan"),
        (("--model", "nowhere.onnx"), "--model nowhere.onnx is not a file"),
        (("--output", "/dev/null/demo"), "cannot write to --output /dev/null/demo"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(environment, tiny_model, arguments, complaint):
    result = run(environment, "--model", tiny_model, *arguments)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr

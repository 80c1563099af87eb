"""Worker processes: Ctrl-C ends them whatever they do, and one that the system ends is an error in words."""

from __future__ import annotations

import multiprocessing
import os
import time

import cv2
import pytest

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.benchmarks.workers import worker_processes


def interrupted() -> None:
    with worker_processes(2) as processes:
        for _ in range(5):
            processes.submit(time.sleep, 60.0)
        time.sleep(3.0)  # for two of them to begin
        raise KeyboardInterrupt


def test_an_interruption_ends_tasks_that_have_begun_and_those_that_wait():
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - started < 30
    assert not multiprocessing.active_children()


def ended_by_the_system() -> None:
    with worker_processes(1) as processes:
        processes.submit(os.abort).result()


def test_a_process_that_the_system_ends_is_said():
    with pytest.raises(InputError, match="take fewer --workers"):
        ended_by_the_system()


def test_a_worker_uses_one_core():
    with worker_processes(1) as processes:
        assert processes.submit(cv2.getNumThreads).result() == 1

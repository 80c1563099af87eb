"""Frames decoded and seen ahead: the same frames, outputs and errors as one after the other."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.evaluation.ahead import decoded_frames
from image_as_imu_ros.geometry.camera import Camera

CAMERA = Camera(32, 16, 30.0, 30.0, 15.5, 7.5)


class CountingEngine:
    """Says the image's mean; remembers what it was asked, and in how many threads at once."""

    name = "counting"

    class info:
        width, height, colour = 32, 16, "gray"

    def __init__(self) -> None:
        self.asked, self.threads = [], set()

    def infer(self, image):
        self.threads.add(threading.get_ident())
        time.sleep(0.002)
        self.asked.append(float(image.mean()))
        if image.mean() == 3:
            raise RuntimeError("the network fails")
        return float(image.mean())


def decode(number: int) -> Frame:
    if number == 5:
        raise InputError("cannot be decoded")
    return Frame(np.full((16, 32), number, np.uint8), number + 1, CAMERA, Shutter(0.01))


def taken(engine, numbers, *, ahead: bool, refused=()) -> list:
    """What an estimator that asks for all frames but the refused ones is told."""
    told = []
    with decoded_frames(engine, numbers, decode, ahead=ahead) as (used, frames):
        for number, frame in frames:
            try:
                image = frame().frame.image
                if number not in refused:
                    told.append(used.infer(image))
            except Exception as error:
                told.append(str(error))
    return told


@pytest.mark.parametrize("refused", [(), (1, 2, 7), tuple(range(20))])
def test_every_frame_gets_its_own_output_and_error_and_is_seen_once(refused):
    engine, ahead = CountingEngine(), CountingEngine()
    expected = taken(engine, range(20), ahead=False, refused=refused)
    assert taken(ahead, range(20), ahead=True, refused=refused) == expected
    assert len(ahead.threads) == 1, "an engine serves one caller at a time"
    assert threading.get_ident() not in ahead.threads
    assert [mean for mean in ahead.asked if mean != 3] == [n for n in range(20) if n not in (3, 5)]


def test_few_frames_wait_however_long_the_recording():
    begun = []

    def noted(number):
        begun.append(number)
        return decode(number % 2)

    with decoded_frames(CountingEngine(), range(100), noted, ahead=True) as (_, frames):
        for number, frame in frames:
            frame()
            assert len(begun) <= number + 3
    assert len(begun) == 100


def interrupted(after: int) -> None:
    with decoded_frames(CountingEngine(), range(100), decode, ahead=True) as (_, frames):
        for _ in range(after):
            next(frames)
        raise KeyboardInterrupt


@pytest.mark.parametrize("after", [0, 1, 50])
def test_an_end_in_the_middle_ends_the_thread(after):
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        interrupted(after)
    assert threading.active_count() == before

"""Frames that are decoded, and seen by the network, while the estimator is busy with earlier ones.

The estimator takes frames one after the other, but what the network says of a frame depends on its image alone: it can
be asked in advance, and no result differs. A thread does for it, as Python's lock is free while images are decoded and
networks run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from image_as_imu_ros.engine import Engine
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.frame import Frame
from image_as_imu_ros.geometry.view import View
from image_as_imu_ros.recordings.recording import CameraMessages

_AHEAD = 2  # frames; more would only wait

Decode = Callable[[CameraMessages], Frame]


@dataclass(frozen=True)
class DecodedFrame:
    """A frame, and s that were spent on it before the estimator had it, per stage."""

    frame: Frame
    seconds: dict[str, float]

    @classmethod
    def of(cls, message: CameraMessages, decode: Decode) -> DecodedFrame:
        """Decode a frame. Raises what `decode` raises."""
        started = time.perf_counter()
        frame = decode(message)
        return cls(frame, {"decode": time.perf_counter() - started})


DecodedFrames = Iterator[tuple[CameraMessages, Callable[[], DecodedFrame]]]


@contextmanager
def decoded_frames(
    engine: Engine, messages: Iterable[CameraMessages], decode: Decode, *, ahead: bool
) -> Iterator[tuple[Engine, DecodedFrames]]:
    """Give the engine that the estimator is to use, and each message with what returns its frame.

    Args:
        decode: makes a frame of a message. What it raises, the frame's function raises.
        ahead: have a thread decode frames and run the network on them before they are asked for.
    """
    if not ahead:
        yield engine, ((message, partial(DecodedFrame.of, message, decode)) for message in messages)
        return
    thread = _EngineAhead(engine)
    try:
        yield thread, thread.decoded(messages, decode)
    finally:
        thread.close()


class _EngineAhead:
    """An engine in a thread of its own, which sees the frames that it decodes before the estimator asks for them."""

    def __init__(self, engine: Engine) -> None:
        self.info, self.name = engine.info, engine.name
        self._engine = engine
        self._thread = ThreadPoolExecutor(1)
        self._seen: deque[tuple[np.ndarray, NetworkOutput]] = deque(maxlen=_AHEAD + 1)

    def close(self) -> None:
        """End the thread. The engine stays open."""
        self._thread.shutdown(cancel_futures=True)

    def decoded(self, messages: Iterable[CameraMessages], decode: Decode) -> DecodedFrames:
        """See `decoded_frames`."""
        waiting: deque[tuple[CameraMessages, Future[DecodedFrame]]] = deque()
        for message in messages:
            waiting.append((message, self._thread.submit(self._decode_and_see, message, decode)))
            if len(waiting) > _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result
        for message, future in waiting:
            yield message, future.result

    def infer(self, image: np.ndarray) -> NetworkOutput:
        """Return what the network said of an image, see `Engine.infer`; ask it now where it was not asked before."""
        while self._seen:  # what was seen and is not asked for belongs to frames that the estimator has refused
            seen, output = self._seen.popleft()
            if np.array_equal(seen, image):
                return output
        return self._thread.submit(self._engine.infer, image).result()

    def _decode_and_see(self, message: CameraMessages, decode: Decode) -> DecodedFrame:
        decoded = DecodedFrame.of(message, decode)
        started = time.perf_counter()
        try:
            view = View.of(decoded.frame.camera, self.info.width, self.info.height)
            image = view.prepare(decoded.frame.image, self.info.colour)
            self._seen.append((image, self._engine.infer(image)))
        except Exception:  # the estimator will meet it, too, in its order and where it is reported
            return decoded
        decoded.seconds["network"] = time.perf_counter() - started
        return decoded

"""What running a plan needs of CUDA: a context, buffers, a graph. PyCUDA is imported at first use.

PyCUDA has no graphs; they come from the driver's C interface (CUDA 11.4 or later).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from image_as_imu_ros.engine.nvidia import pycuda_driver

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: independent of other libraries' default stream
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do cannot spoil a capture


class CudaError(RuntimeError):
    """A CUDA call that does not go through PyCUDA failed."""


def errors() -> tuple[type[Exception], ...]:
    """List what failing CUDA calls raise, here and in PyCUDA."""
    return CudaError, pycuda_driver().Error


@dataclass(frozen=True)
class Gpu:
    """A GPU: what a plan depends on, and whether it shares the CPU's memory (`integrated`), as in a Jetson."""

    name: str
    compute_capability: str
    multiprocessors: int
    integrated: bool

    @classmethod
    def first(cls) -> Gpu:
        """Describe the first GPU; CUDA_VISIBLE_DEVICES chooses another."""
        attributes, device = pycuda_driver().device_attribute, _device()
        return cls(
            name=device.name(),
            compute_capability="{}.{}".format(*device.compute_capability()),
            multiprocessors=device.get_attribute(attributes.MULTIPROCESSOR_COUNT),
            integrated=bool(device.get_attribute(attributes.INTEGRATED)),
        )


def why_no_gpu() -> str | None:
    """Say why CUDA finds no GPU here; None if it does. Needs no PyCUDA."""
    try:
        driver = _driver()
    except OSError as error:
        return f"no NVIDIA driver ({error})"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "no NVIDIA GPU that the driver can use"
    return None


@contextmanager
def current_context() -> Iterator[None]:
    """Make the GPU's primary context, the one that TensorRT uses too, current in this thread for a while.

    It is kept until the process ends, for the CUDA runtime inside TensorRT keeps it as long.
    """
    context = _primary_context()
    context.push()
    try:
        yield
    finally:
        context.pop()


def new_stream() -> Any:
    """Create a stream (pycuda.driver.Stream) of the current context."""
    return pycuda_driver().Stream(_NON_BLOCKING)


def free_memory() -> int:
    """Count the bytes of GPU memory that are free, in the current context."""
    return pycuda_driver().mem_get_info()[0]


class Buffer:
    """A float32 tensor for the CPU (`host`) and for the GPU (`address`).

    With a GPU of its own memory these are two places and `upload` and `download` copy. With an integrated GPU
    both are the same memory, and they do nothing.
    """

    def __init__(self, shape: tuple[int, ...], integrated: bool) -> None:
        self._cuda = cuda = pycuda_driver()
        self._device: Any = None
        if integrated:
            flags = cuda.host_alloc_flags.DEVICEMAP
            self.host: np.ndarray = cuda.pagelocked_empty(shape, np.float32, mem_flags=flags)
            self.address = int(self._host_allocation.get_device_pointer())
        else:
            self.host = cuda.pagelocked_empty(shape, np.float32)
            try:
                self._device = cuda.mem_alloc(self.host.nbytes)
            except cuda.Error:
                self.free()
                raise
            self.address = int(self._device)

    @property
    def _host_allocation(self) -> Any:
        """PyCUDA's owner of the memory of `host`."""
        return self.host.base

    def upload(self, stream: Any) -> None:
        """Queue the copy to the GPU."""
        if self._device is not None:
            self._cuda.memcpy_htod_async(self._device, self.host, stream)

    def download(self, stream: Any) -> None:
        """Queue the copy from the GPU."""
        if self._device is not None:
            self._cuda.memcpy_dtoh_async(self.host, self._device, stream)

    def free(self) -> None:
        """Give the memory back. `host` cannot be used afterwards."""
        if self._device is not None:
            self._device.free()
        allocation = self._host_allocation
        del self.host
        allocation.free()


class Graph:
    """Work on a stream, recorded once and launched with one call.

    Raises:
        errors(): the work cannot be recorded. The stream is usable all the same.
    """

    def __init__(self, stream: Any, work: Callable[[], None]) -> None:
        """Record `work`, which queues on the stream; nothing of it runs here."""
        self._driver = driver = _driver()
        self._stream = ctypes.c_void_p(stream.handle)
        graph, self._launchable = ctypes.c_void_p(), ctypes.c_void_p()
        _check("cuStreamBeginCapture", driver.cuStreamBeginCapture_v2(self._stream, _THREAD_LOCAL))
        try:
            try:
                work()
            finally:
                result = driver.cuStreamEndCapture(self._stream, ctypes.byref(graph))
            _check("cuStreamEndCapture", result)
            instantiate = driver.cuGraphInstantiateWithFlags
            result = instantiate(ctypes.byref(self._launchable), graph, ctypes.c_ulonglong(0))
            _check("cuGraphInstantiateWithFlags", result)
        finally:
            if graph:
                driver.cuGraphDestroy(graph)

    def launch(self) -> None:
        """Queue the work on its stream."""
        _check("cuGraphLaunch", self._driver.cuGraphLaunch(self._launchable, self._stream))

    def free(self) -> None:
        """Give its memory back."""
        _check("cuGraphExecDestroy", self._driver.cuGraphExecDestroy(self._launchable))


@cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


@cache
def _device() -> Any:
    cuda = pycuda_driver()
    cuda.init()
    return cuda.Device(0)


@cache
def _primary_context() -> Any:
    return _device().retain_primary_context()


def _check(call: str, result: int) -> None:
    if result:
        raise CudaError(f"{call} failed with CUDA error {result}")

"""A stand-in for a machine with an NVIDIA GPU: the modules tensorrt and pycuda.driver, and the driver's library.

It is strict where a GPU crashes or gives wrong numbers in silence. Only names that the real packages of that version
have can be used (gpu_interfaces.json: what their classes offer, read from NVIDIA's and PyCUDA's packages). CUDA needs
a current context in the calling thread. Work on a stream is done when somebody waits for it, not before. A plan
is the ONNX file in a wrapping, and running it runs ONNX Runtime on the bytes at the addresses that were given, so
what comes out at the end tells whether everything was wired right.
"""

from __future__ import annotations

import json
import sys
import threading
import weakref
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime

from image_as_imu_ros.engine import cuda, nvidia

INTERFACES = json.loads((Path(__file__).parent / "gpu_interfaces.json").read_text())
TENSORRT_VERSIONS = {name.split()[1]: name for name in INTERFACES if name.startswith("tensorrt")}
PYCUDA = "pycuda 2022.1 to 2026.1"
HEADER = b"PLAN"


class GpuMachine:
    """See above.

    Attributes:
        used: (class, name) of everything in the interfaces that was touched.
        memory: address → array, of all memory that the GPU can see.
        alive: TensorRT's runtimes, engines and execution contexts that were not given back yet.
        streams: by their handles.
        refuses_plans: how many more plans TensorRT will refuse, as after an update of the driver.
        allocations_left: how many more there are before memory runs out.
        builds: what each build was made of: the ONNX model, creation flags, builder flags, config.
    """

    def __init__(
        self, tensorrt: str = "10.3.0", *, integrated: bool = False, graphs: bool = True, dla_cores: int = 0
    ) -> None:
        self.version, self.integrated, self.graphs, self.dla_cores = tensorrt, integrated, graphs, dla_cores
        self.gpu_name, self.capability, self.multiprocessors = "Orin", (8, 7), 16
        self.used: set[tuple[str, str]] = set()
        self.memory: dict[int, np.ndarray] = {}
        self.alive = weakref.WeakSet()
        self.streams = weakref.WeakValueDictionary()
        self.builds: list[SimpleNamespace] = []
        self.graphs_alive = 0
        self.launches = 0
        self.refuses_plans = 0
        self.allocations_left = 1_000_000
        self.build_hook: Callable[[], None] = lambda: None
        self._contexts = threading.local()
        self._next_address = 0x1000

    def install(self, monkeypatch) -> None:
        """Make it what the code under test finds when it imports and loads."""
        driver = _pycuda(self)
        monkeypatch.setitem(sys.modules, "tensorrt", _tensorrt(self))
        monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=driver))
        monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
        library = _Driver(self)
        monkeypatch.setattr(cuda, "_driver", lambda: library)
        for remembered in (nvidia.tensorrt_logger, cuda._device, cuda._primary_context):
            remembered.cache_clear()

    @property
    def context_depth(self) -> int:
        """How often this thread made the context current."""
        return getattr(self._contexts, "depth", 0)

    def change_depth(self, by: int) -> None:
        self._contexts.depth = self.context_depth + by
        assert self.context_depth >= 0, "popped more often than pushed"

    def need_context(self, what: str) -> None:
        assert self.context_depth > 0, f"{what} without a current context"

    def allocate(self, content: np.ndarray) -> int:
        self.need_context("allocating")
        if not self.allocations_left:
            raise sys.modules["pycuda.driver"].Error("cuMemAlloc failed: out of memory")
        self.allocations_left -= 1
        address, self._next_address = self._next_address, self._next_address + content.nbytes + 256
        self.memory[address] = content
        return address

    def release(self, address: int) -> None:
        self.need_context("freeing memory")
        assert address in self.memory, "memory was freed twice"
        del self.memory[address]


def _checked(machine: GpuMachine, interface: dict[str, str], name: str) -> type:
    """Make a base class whose instances and classes only have what the interface lists under `name`."""
    allowed = set(interface[name].split())

    def check(attribute: str) -> None:
        if not attribute.startswith("_"):
            if attribute not in allowed:
                raise AttributeError(f"{name} of this version has no {attribute}")
            machine.used.add((name, attribute))

    class Checked:
        def __getattribute__(self, attribute):
            check(attribute)
            return object.__getattribute__(self, attribute)

        def __setattr__(self, attribute, value):
            check(attribute)
            object.__setattr__(self, attribute, value)

    Checked.__name__ = name
    return Checked


def _namespace(machine: GpuMachine, interface: dict[str, str], name: str, members: dict):
    """Make an object with the members that the interface lists."""
    thing = _checked(machine, interface, name)()
    vars(thing).update(members)
    return thing


def _enum(machine: GpuMachine, interface: dict[str, str], name: str):
    names = [member for member in interface[name].split() if member.isupper() or "_" in member]
    return _namespace(machine, interface, name, IntEnum(name, names, start=0).__members__)


def _tensorrt(machine: GpuMachine):
    interface = INTERFACES[TENSORRT_VERSIONS[machine.version]]
    major = int(machine.version.split(".")[0])

    def checked(name: str) -> type:
        return _checked(machine, interface, name)

    severity = _enum(machine, interface, "Severity")

    creation_flags = _enum(machine, interface, "NetworkDefinitionCreationFlag")
    strongly_typed = 1 << creation_flags.STRONGLY_TYPED if major >= 10 else 0

    class ILogger:
        Severity = severity

        def __init__(self) -> None:
            self.initialised = True

    class IHostMemory(bytes):
        pass

    class Network:
        model = None

    class BuilderConfig(checked("IBuilderConfig")):
        def __init__(self) -> None:
            self._flags, self._workspace, self._timing_cache, self._monitor = set(), None, None, None

        def set_flag(self, flag) -> None:
            self._flags.add(flag.name)

        def set_memory_pool_limit(self, pool, size: int) -> None:
            assert pool.name == "WORKSPACE"
            self._workspace = size

        def create_timing_cache(self, content: bytes):
            return TimingCache(content)

        def set_timing_cache(self, cache, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            self._timing_cache = cache
            return cache._content in (b"", b"TIMES")

    class TimingCache(checked("ITimingCache")):
        def __init__(self, content: bytes) -> None:
            self._content = content

        def serialize(self) -> IHostMemory:
            return IHostMemory(b"TIMES")

    class Builder(checked("Builder")):
        num_DLA_cores = machine.dla_cores

        def __init__(self, logger: ILogger) -> None:
            assert logger.initialised
            machine.need_context("building")

        def create_network(self, flags: int = 0) -> Network:
            if major < 10:
                assert flags & 1, "networks must have an explicit batch dimension"
            network = Network()
            network.flags = flags
            return network

        def create_builder_config(self) -> BuilderConfig:
            return BuilderConfig()

        def build_serialized_network(self, network: Network, config: BuilderConfig) -> IHostMemory | None:
            machine.need_context("building")
            machine.build_hook()
            assert network.model is not None, "the network was not parsed"
            machine.builds.append(
                SimpleNamespace(
                    model=onnx.load_from_string(network.model),
                    strongly_typed=major >= 11 or bool(major == 10 and network.flags & strongly_typed),
                    flags=config._flags,
                    workspace=config._workspace,
                    timing_cache=config._timing_cache,
                    device=vars(config).get("default_device_type"),
                    dla_core=vars(config).get("DLA_core"),
                )
            )
            if monitor := vars(config).get("progress_monitor"):
                monitor.phase_start("Building", None, 2)
                assert monitor.step_complete("Building", 0)
                monitor.phase_start("Timing", "Building", 1)
                assert monitor.step_complete("Timing", 0)
                monitor.phase_finish("Timing")
                monitor.phase_finish("Building")
            return IHostMemory(HEADER + machine.version.encode() + b"\n" + network.model)

    class OnnxParser(checked("OnnxParser")):
        num_errors = 1

        def __init__(self, network: Network, logger: ILogger) -> None:
            self._network = network

        def parse(self, content: bytes) -> bool:
            self._network.model = bytes(content)
            return b"BitShift" not in content

        def get_error(self, index: int):
            return _namespace(machine, interface, "ParserError", {"desc": lambda: "no importer for BitShift"})

    class Runtime(checked("Runtime")):
        def __init__(self, logger: ILogger) -> None:
            assert logger.initialised
            machine.need_context("a runtime")
            machine.alive.add(self)
            self._logger = logger

        def deserialize_cuda_engine(self, content: bytes) -> Plan | None:
            machine.need_context("deserialising")
            assert content.startswith(HEADER), "the process ends with a segmentation fault"
            version, _, model = content.removeprefix(HEADER).partition(b"\n")
            assert version.decode() == machine.version, "a plan of another TensorRT was handed over"
            if machine.refuses_plans:
                machine.refuses_plans -= 1
                self._logger.log(severity.ERROR, "engine plan file is not compatible with this driver\nat runtime.cpp")
                return None
            return Plan(self, model)

    class Plan(checked("ICudaEngine")):
        def __init__(self, runtime: Runtime, model: bytes) -> None:
            machine.alive.add(self)
            self._runtime = runtime
            self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            tensors = [*self._session.get_inputs(), *self._session.get_outputs()]
            self._shapes = {tensor.name: tensor.shape for tensor in tensors}

        @property
        def num_io_tensors(self) -> int:
            return len(self._shapes)

        def get_tensor_name(self, index: int) -> str:
            return list(self._shapes)[index]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(self._shapes[name])

        def get_tensor_dtype(self, name: str):
            return np.float32

        def create_execution_context(self) -> ExecutionContext:
            machine.need_context("an execution context")
            return ExecutionContext(self)

    class ExecutionContext(checked("IExecutionContext")):
        def __init__(self, plan: Plan) -> None:
            machine.alive.add(self)
            self._plan, self._addresses, self._ran = plan, {}, False

        def set_tensor_address(self, name: str, address: int) -> bool:
            assert name in self._plan._shapes
            assert machine.memory[address].nbytes == 4 * np.prod(self._plan._shapes[name])
            self._addresses[name] = address
            return True

        def execute_async_v3(self, handle: int) -> bool:
            machine.need_context("running")
            stream = machine.streams[handle]
            if stream._recording is not None and not (machine.graphs and self._ran):
                return False
            assert self._addresses.keys() == self._plan._shapes.keys(), "a tensor has no memory"
            self._ran = True
            stream._queue(self._run)
            return True

        def _run(self) -> None:
            session = self._plan._session
            tensors = {
                name: machine.memory[address].view(np.float32).reshape(self._plan._shapes[name])
                for name, address in self._addresses.items()
            }
            outputs = [output.name for output in session.get_outputs()]
            for name, result in zip(outputs, session.run(outputs, {"image": tensors["image"]}), strict=True):
                tensors[name][:] = result

    members = {
        "__version__": machine.version,
        "ILogger": ILogger,
        "Builder": Builder,
        "OnnxParser": OnnxParser,
        "Runtime": Runtime,
        "nptype": lambda dtype: dtype,
        "NetworkDefinitionCreationFlag": creation_flags,
    }
    for name in ("BuilderFlag", "MemoryPoolType", "DeviceType"):
        members[name] = _enum(machine, interface, name)
    if "IProgressMonitor" in interface:
        members["IProgressMonitor"] = type("IProgressMonitor", (), {"__init__": lambda self: None})
    return _namespace(machine, interface, "tensorrt", members)


class _Stream:
    """A stream of the stand-in: work waits until somebody waits for it."""

    def _init(self, machine: GpuMachine) -> None:
        machine.need_context("a stream")
        self._machine, self._waiting, self._recording = machine, [], None
        self._number = id(self)
        machine.streams[self._number] = self

    def _queue(self, work: Callable[[], None]) -> None:
        (self._waiting if self._recording is None else self._recording).append(work)

    def _synchronize(self) -> None:
        self._machine.need_context("waiting for a stream")
        assert self._recording is None, "waiting is not allowed while a graph is recorded"
        for work in self._waiting:
            work()
        self._waiting.clear()


def _pycuda(machine: GpuMachine):
    interface = INTERFACES[PYCUDA]

    def checked(name: str) -> type:
        return _checked(machine, interface, name)

    class Context(checked("Context")):
        def push(self) -> None:
            machine.change_depth(+1)

        @staticmethod
        def pop() -> None:
            machine.change_depth(-1)

    class Device(checked("Device")):
        def __init__(self, number: int) -> None:
            assert number == 0

        def name(self) -> str:
            return machine.gpu_name

        def compute_capability(self) -> tuple[int, int]:
            return machine.capability

        def get_attribute(self, attribute: str) -> int:
            return {"INTEGRATED": machine.integrated, "MULTIPROCESSOR_COUNT": machine.multiprocessors}[attribute]

        def retain_primary_context(self) -> Context:
            return Context()

    class Stream(checked("Stream"), _Stream):
        def __init__(self, flags: int = 0) -> None:
            self._init(machine)

        def synchronize(self) -> None:
            self._synchronize()

        @property
        def handle(self) -> int:
            return self._number

    class DeviceAllocation(checked("DeviceAllocation")):
        def __init__(self, size: int) -> None:
            self._address = machine.allocate(np.full(size, 0xFF, np.uint8))

        def __int__(self) -> int:
            return self._address

        def free(self) -> None:
            machine.release(self._address)

    class PagelockedHostAllocation(bytearray):
        def map(self, array: np.ndarray, mapped: bool) -> None:
            self.address = machine.allocate(array.view(np.uint8).reshape(-1))
            self.mapped = mapped

        def get_device_pointer(self) -> int:
            assert self.mapped, "the GPU cannot see this memory"
            return self.address

        def free(self) -> None:
            machine.release(self.address)

    def pagelocked_empty(shape, dtype, order="C", mem_flags=0) -> np.ndarray:
        allocation = PagelockedHostAllocation(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        array = np.ndarray(shape, dtype, buffer=allocation)
        allocation.map(array, mem_flags == "mapped")
        return array

    def copy(stream: Stream, host: np.ndarray, device: DeviceAllocation, upload: bool) -> None:
        machine.need_context("copying")
        assert isinstance(host.base, PagelockedHostAllocation), "an asynchronous copy needs pinned memory"
        memory = machine.memory[int(device)]
        assert host.nbytes == memory.nbytes
        flat = host.view(np.uint8).reshape(-1)
        target, source = (memory, flat) if upload else (flat, memory)
        stream._queue(lambda: target.__setitem__(slice(None), source))

    members = {
        "init": lambda: None,
        "Error": type("Error", (Exception,), {}),
        "Device": Device,
        "Stream": Stream,
        "mem_alloc": DeviceAllocation,
        "mem_get_info": lambda: (8 * 2**30 - sum(m.nbytes for m in machine.memory.values()), 8 * 2**30),
        "pagelocked_empty": pagelocked_empty,
        "memcpy_htod_async": lambda dest, src, stream: copy(stream, src, dest, upload=True),
        "memcpy_dtoh_async": lambda dest, src, stream: copy(stream, dest, src, upload=False),
        "device_attribute": SimpleNamespace(INTEGRATED="INTEGRATED", MULTIPROCESSOR_COUNT="MULTIPROCESSOR_COUNT"),
        "host_alloc_flags": SimpleNamespace(DEVICEMAP="mapped"),
    }
    return _namespace(machine, interface, "driver", members)


class _Driver:
    """libcuda.so.1, as ctypes shows it: numbers in, a result code out, 0 for success."""

    def __init__(self, machine: GpuMachine) -> None:
        self._machine = machine
        self._graphs: dict[int, list] = {}
        self._launchables: dict[int, list] = {}

    def cuInit(self, flags: int) -> int:
        return 0

    def cuDeviceGetCount(self, count) -> int:
        count._obj.value = 1
        return 0

    def cuStreamBeginCapture_v2(self, stream, mode: int) -> int:
        self._machine.need_context("recording")
        assert mode == 1
        self._machine.streams[stream.value]._recording = []
        return 0

    def cuStreamEndCapture(self, stream, graph) -> int:
        stream = self._machine.streams[stream.value]
        work, stream._recording = stream._recording, None
        number = len(self._graphs) + 1
        self._graphs[number] = work
        graph._obj.value = number
        self._machine.graphs_alive += 1
        return 0

    def cuGraphInstantiateWithFlags(self, launchable, graph, flags) -> int:
        number = len(self._launchables) + 1
        self._launchables[number] = self._graphs[graph.value]
        launchable._obj.value = number
        self._machine.graphs_alive += 1
        return 0

    def cuGraphLaunch(self, launchable, stream) -> int:
        self._machine.need_context("launching a graph")
        self._machine.launches += 1
        for work in self._launchables[launchable.value]:
            self._machine.streams[stream.value]._queue(work)
        return 0

    def cuGraphDestroy(self, graph) -> int:
        self._graphs[graph.value] = None
        self._machine.graphs_alive -= 1
        return 0

    def cuGraphExecDestroy(self, launchable) -> int:
        self._machine.need_context("freeing a graph")
        self._launchables[launchable.value] = None
        self._machine.graphs_alive -= 1
        return 0

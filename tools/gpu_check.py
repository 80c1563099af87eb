"""Measure on a machine with an NVIDIA GPU what docs/performance.md has empty rows for, in a quarter of an hour.

    python tools/gpu_check.py [--output gpu_check.json] [--frames 300] [--minutes 14] [--cpu]

Each check runs in a process of its own, with a time limit, and one that fails leaves its reason: context, stream,
buffer and graph through PyCUDA; the benchmark of each engine that works here, image to velocity included; the network
in PyTorch, FP16 and one CUDA graph, as a yardstick; and memory over cycles of loading and closing. The JSON is written
after every check. With --cpu, what can run without a GPU does, on fewer frames: to see that this script works.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from image_as_imu_ros.engine import cuda, load_engine
from image_as_imu_ros.engine.config import EngineConfig, EngineName
from image_as_imu_ros.engine.model_files.precision import Precision
from image_as_imu_ros.evaluation.benchmarks.engines import BenchmarkConfig, benchmark
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "tensorrt", "pycuda", "torch", "numba", "numpy", "opencv-python")
_WEIGHTS = "models/blur_imu_small.safetensors"
_MIB = 2**20


@dataclass(frozen=True)
class Options:
    """How much is measured. `cpu`: without a GPU."""

    frames: int
    cpu: bool


def machine(options: Options) -> dict[str, Any]:
    """Describe the GPU and the packages."""
    asked = "name,driver_version,memory.total,power.limit,clocks.max.sm"
    try:
        query = subprocess.run(
            ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        query = f"nvidia-smi: {error}"
    return {
        "gpu": query,
        "why_no_gpu": cuda.why_no_gpu(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def pycuda_parts(options: Options) -> dict[str, Any]:
    """Upload, run a graph of two copies, download: the numbers must come back."""
    with cuda.current_context():
        gpu, stream, free = cuda.Gpu.first(), cuda.new_stream(), cuda.free_memory()
        buffer = cuda.Buffer((224, 320), gpu.integrated)
        sent = np.random.default_rng(0).random((224, 320), np.float32)
        buffer.host[:] = sent

        def work() -> None:
            buffer.upload(stream)
            buffer.download(stream)

        graph = cuda.Graph(stream, work)
        graph.launch()
        stream.synchronize()
        same = bool((buffer.host == sent).all())
        milliseconds = _timed(lambda: (graph.launch(), stream.synchronize()), 1000)
        graph.free()
        buffer.free()
        return {
            "gpu": gpu.name,
            "compute_capability": gpu.compute_capability,
            "integrated": gpu.integrated,
            "came_back": same,
            "copy_there_and_back_ms": milliseconds,
            "left_behind_mib": (free - cuda.free_memory()) / _MIB,
        }


def engine(options: Options, name: EngineName, precision: Precision = Precision.AUTO) -> dict[str, Any]:
    """Run `benchmark` with one engine."""
    config = BenchmarkConfig(EngineConfig(engine=name, precision=precision), frames=options.frames)
    result = benchmark(config)
    stages = {
        stage: dict(zip(("p50", "p95", "p99"), 1e3 * np.quantile(durations, [0.5, 0.95, 0.99]), strict=True))
        for stage, durations in result.seconds.items()
    }
    return {
        "engine": result.engine,
        "model": result.model,
        "precision": str(precision),
        "stages_ms": stages,
        "images_per_s": 1 / float(np.mean(result.seconds["JPEG to velocity"])),
        "memory_mib": result.memory / _MIB,
        "gpu_memory_mib": None if result.gpu_memory is None else result.gpu_memory / _MIB,
        "largest_difference_px": result.difference[1],
    }


def pytorch(options: Options) -> dict[str, Any]:
    """Time the network in PyTorch: FP16 in one CUDA graph, or FP32 on the CPU."""
    import torch

    from image_as_imu_training.checkpoint import load_network

    device = "cpu" if options.cpu else "cuda"
    network = load_network(resource(_WEIGHTS)).to(device)
    image = torch.rand(1, 1, 224, 320, device=device)
    with torch.no_grad(), torch.autocast(device, torch.float16, enabled=not options.cpu):
        if options.cpu:
            return {"precision": "fp32", **_quantiles(lambda: network(image), options.frames)}
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(5):
                network(image)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            network(image)
        quantiles = _quantiles(lambda: (graph.replay(), torch.cuda.synchronize()), options.frames)
    return {"precision": "fp16, CUDA graph", "gpu_memory_mib": torch.cuda.max_memory_allocated() / _MIB, **quantiles}


def cycles(options: Options, name: EngineName) -> dict[str, Any]:
    """Load and close an engine over and over: free memory of the GPU, or this process's own, must stay."""
    model, count, used = resource(DEFAULT_MODEL), 5 if options.cpu else 100, []
    for _ in range(count):
        load_engine(model, name).close()
        used.append(_resident() if options.cpu else _gpu_used())
    return {"cycles": count, "used_mib": used, "growth_mib": used[-1] - used[min(4, count - 1)]}


def checks(options: Options) -> dict[str, Callable[[], dict[str, Any]]]:
    """List all checks by name, the most important first: time may run out."""
    engines = [(EngineName.TENSORRT, Precision.FP16), (EngineName.ONNXRUNTIME_CUDA, Precision.AUTO)]
    engines += [(EngineName.TENSORRT, Precision.INT8), (EngineName.ONNXRUNTIME_TENSORRT, Precision.AUTO)]
    engines = [(EngineName.ONNXRUNTIME, Precision.AUTO)] + ([] if options.cpu else engines)
    found: dict[str, Callable[[], dict[str, Any]]] = {"machine": lambda: machine(options)}
    if not options.cpu:
        found["pycuda"] = lambda: pycuda_parts(options)
    for name, precision in engines:
        found[f"{name} {precision}"] = lambda n=name, p=precision: engine(options, n, p)
    found["pytorch"] = lambda: pytorch(options)
    for name in [EngineName.ONNXRUNTIME] if options.cpu else [EngineName.TENSORRT, EngineName.ONNXRUNTIME_CUDA]:
        found[f"cycles {name}"] = lambda n=name: cycles(options, n)
    return found


def main() -> None:
    """Run all checks, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu_check.json"), metavar="FILE")
    parser.add_argument("--frames", type=int, default=300, help="that each engine is measured with (default: 300)")
    parser.add_argument("--minutes", type=float, default=14.0, help="after which nothing more is started (default: 14)")
    parser.add_argument("--cpu", action="store_true", help="what runs without a GPU, to try this script")
    parser.add_argument("--check", metavar="NAME", help="run one check here and print its JSON")
    arguments = parser.parse_args()
    options = Options(arguments.frames, arguments.cpu)
    if arguments.check:
        print(json.dumps(checks(options)[arguments.check]()))
        return
    until, results = time.monotonic() + 60 * arguments.minutes, {}
    for name in checks(options):
        left = until - time.monotonic()
        results[name] = _run_apart(name, arguments, left) if left > 0 else {"error": "no time was left"}
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{name}: {results[name].get('error', 'done')}", flush=True)
    print(f"\n{arguments.output.read_text()}\n{rows(results)}")


def rows(results: dict[str, dict[str, Any]]) -> str:
    """Write the rows of docs/performance.md's table."""
    gpu = str(results["machine"].get("gpu", "")).partition(",")[0]
    lines = []
    for name, result in results.items():
        if "stages_ms" not in result:
            continue
        network, whole = result["stages_ms"]["network"], result["stages_ms"]["JPEG to velocity"]
        times = " / ".join(f"{network[quantile]:.2f}" for quantile in ("p50", "p95", "p99"))
        memory = result["gpu_memory_mib"]
        cells = [gpu, name, times, f"{whole['p50']:.2f}", f"{result['images_per_s']:.0f}"]
        cells += [f"{result['memory_mib']:.0f}, {'–' if memory is None else f'{memory:.0f}'} MiB"]
        lines.append("| " + " | ".join([*cells, f"{result['largest_difference_px']:.3f} px"]) + " |")
    return "\n".join(lines)


def _run_apart(name: str, arguments: argparse.Namespace, limit: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--check", name, "--frames", str(arguments.frames)]
    command += ["--cpu"] if arguments.cpu else []
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"error": f"not finished after {limit:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]}
    return {**json.loads(done.stdout.splitlines()[-1]), "took_s": time.monotonic() - started}


def _quantiles(run: Callable[[], object], count: int) -> dict[str, float]:
    durations = []
    for _ in range(count + 10):
        started = time.perf_counter()
        run()
        durations.append(time.perf_counter() - started)
    return dict(zip(("p50_ms", "p95_ms", "p99_ms"), 1e3 * np.quantile(durations[10:], [0.5, 0.95, 0.99]), strict=True))


def _timed(run: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        run()
    return 1e3 * (time.perf_counter() - started) / count


def _gpu_used() -> float:
    """MiB of the GPU that somebody uses."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return float(subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0])


def _resident() -> float:
    """MiB that this process has in memory."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()

"""What `ros2 run image_as_imu_ros NAME` starts: one function per command."""

from functools import partial

from image_as_imu_ros.commands import run

blur_imu_node = partial(run, "blur_imu_node")
demo = partial(run, "demo")
build_engine = partial(run, "build_engine")
evaluate = partial(run, "evaluate")
benchmark_recordings = partial(run, "benchmark_recordings")
convert = partial(run, "convert")
estimate_image = partial(run, "estimate_image")
benchmark = partial(run, "benchmark")

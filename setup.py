"""ament_python package, and pip-installable from the same tree."""

from glob import glob

from setuptools import find_packages, setup

package = "image_as_imu_ros"
commands = [
    "blur_imu_node",
    "demo",
    "build_engine",
    "evaluate",
    "benchmark_recordings",
    "convert",
    "estimate_image",
    "benchmark",
]

setup(
    name=package,
    version="0.4.0",
    description="Angular and linear camera velocity from single motion-blurred images, as a real-time ROS 2 node",
    maintainer="image_as_imu_ros maintainers",
    maintainer_email="maintainers@image-as-imu-ros.invalid",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[f"{package}*", "image_as_imu_training*"]),
    package_data={
        package: ["demo/assets/*", "evaluation/*.html"],
        "image_as_imu_training.training.config": ["*.yaml", "*/*.yaml"],
        "image_as_imu_training.datasets": ["*.txt"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
        (f"share/{package}/launch", glob("launch/*.launch.py")),
        (f"share/{package}/config", glob("config/*")),
        (f"share/{package}/models", glob("models/*.onnx")),
    ],
    install_requires=[
        "numpy>=1.21",
        "opencv-python>=4.5",
        "onnx>=1.15",
        "onnxruntime>=1.16",
        "pyyaml>=5.4",
        "rosbags>=0.10",
        "matplotlib>=3.5",
        "tqdm>=4.60",
        "jinja2>=3.0",
    ],
    extras_require={
        # The PyPI builds of ROS 2, for machines without a ROS installation.
        "ros": [
            "ros-rclpy[fastrtps]",
            "ros-sensor-msgs",
            "ros-geometry-msgs",
            "ros-nav-msgs",
            "ros-diagnostic-msgs",
            "ros-lifecycle-msgs",
            "ros-rosgraph-msgs",
        ],
        "train": [
            "torch>=2.6",  # from here on torch.load runs no code unless asked to, in third-party loaders too
            "lz4>=3",
            "accelerate>=1.0",
            "hydra-core>=1.3",
            "safetensors>=0.4",
            "tensorboard>=2.14",
        ],
        # For evaluate --baseline colmap. hloc, DROID-SLAM and MASt3R are not on PyPI: docs/evaluate.md.
        "baselines": ["pycolmap>=4.0"],
        "cluster": ["ray>=2.9"],
        # For engine tensorrt. TensorRT itself comes with JetPack, or as the package tensorrt.
        "tensorrt": ["pycuda>=2022.1"],
        "test": [
            "pytest>=7",
            "hypothesis>=6",
            "ruff>=0.6",
            "scipy>=1.8",
            "webdataset>=0.2",
            # TensorRT's real interfaces, which can be imported without a GPU (47 MB), and COLMAP (38 MB).
            *(
                f'{name}; sys_platform == "linux" and platform_machine == "x86_64" and python_version < "3.14"'
                for name in (
                    "tensorrt-lean-cu13-bindings",
                    "tensorrt-lean-cu13-libs",
                    "nvidia-cuda-runtime>=13,<14",
                    "pycolmap>=4.0",
                )
            ),
        ],
    },
    entry_points={"console_scripts": [f"{name} = {package}.commands.entry_points:{name}" for name in commands]},
)

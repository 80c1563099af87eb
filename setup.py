"""What ament_python needs beyond pyproject.toml: files outside the packages, and commands for `ros2 run`."""

from glob import glob
from xml.etree import ElementTree

from setuptools import find_packages, setup

package = "image_as_imu_ros"
# The one place of the version, and where ROS's release tools change it.
manifest = ElementTree.parse("package.xml").getroot()

setup(
    # As in pyproject.toml, whose [project] setuptools before 61 does not read: ROS Humble builds with 59.
    name=package,
    version=manifest.findtext("version"),
    license=manifest.findtext("license"),
    maintainer=manifest.findtext("maintainer"),
    maintainer_email=manifest.find("maintainer").get("email"),
    python_requires=">=3.10",
    packages=find_packages(include=[f"{package}*", "image_as_imu_training*"]),
    package_data={
        package: ["py.typed", "demo/assets/*", "evaluation/report/*.html"],
        "image_as_imu_training": ["py.typed"],
        "image_as_imu_training.training.config": ["*.yaml", "*/*.yaml"],
        "image_as_imu_training.datasets": ["*.txt"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
        (f"share/{package}/launch", glob("launch/*.launch.py")),
        (f"share/{package}/config", glob("config/*")),
        (f"share/{package}/models", glob("models/*.onnx")),
        # `ros2 run` looks for executables in lib/PACKAGE. Console scripts get there too in a colcon build, but with
        # `pip install` they would be programs called convert, evaluate and demo on everybody's PATH.
        (f"lib/{package}", glob("scripts/*")),
    ],
)

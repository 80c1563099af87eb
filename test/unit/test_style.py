"""The source is linted and formatted, and layers depend downwards only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROS = {"rclpy", "sensor_msgs", "geometry_msgs", "diagnostic_msgs", "lifecycle_msgs", "std_msgs", "builtin_interfaces"}


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_ruff_is_content(command):
    result = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def imported_packages(path: Path) -> set[str]:
    packages = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            packages.add(node.module.split(".")[0])
    return packages


def test_the_runtime_never_imports_torch_or_the_training_module():
    for path in (ROOT / "image_as_imu_ros").rglob("*.py"):
        assert not imported_packages(path) & {"torch", "image_as_imu_training"}, path


def test_ros_is_imported_by_the_node_and_by_commands_that_talk_to_it_only():
    for path in (ROOT / "image_as_imu_ros").rglob("*.py"):
        relative = path.relative_to(ROOT / "image_as_imu_ros")
        if relative.parts[0] not in ("nodes", "demo") and relative.name != "benchmark.py":
            assert not imported_packages(path) & ROS, path

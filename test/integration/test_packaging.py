"""What `pip install` and a colcon build put where: one version, one program on PATH, every command for `ros2 run`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest

from image_as_imu_ros.__main__ import main
from image_as_imu_ros.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
SOURCES = ("image_as_imu_ros", "image_as_imu_training", "config", "launch", "models", "resource", "scripts")
FILES = ("LICENSE", "README.md", "package.xml", "pyproject.toml", "setup.cfg", "setup.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> ZipFile:
    """The wheel that pip builds of this tree, without the network."""
    pytest.importorskip("setuptools", minversion="70.1", reason="older ones cannot build a wheel by themselves")
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--no-index", "--wheel-dir", str(folder), str(folder)], check=True, timeout=900)
    return ZipFile(next(folder.glob("*.whl")))


def read(wheel: ZipFile, ending: str) -> str:
    return wheel.read(next(name for name in wheel.namelist() if name.endswith(ending))).decode()


def test_the_version_is_that_of_package_xml(wheel):
    metadata = message_from_string(read(wheel, ".dist-info/METADATA"))
    assert metadata["Version"] == MANIFEST.findtext("version")
    assert metadata["Name"].replace("-", "_") == MANIFEST.findtext("name")
    assert metadata["License"] == MANIFEST.findtext("license")


def test_the_version_stands_in_one_place():
    version = MANIFEST.findtext("version", "")
    for name in ("pyproject.toml", "setup.py", "setup.cfg", "image_as_imu_ros/__init__.py"):
        assert version not in (ROOT / name).read_text(), name


def test_the_change_log_begins_with_this_version():
    titles = re.findall(r"^(\S+)(?: \(.*\))?\n-+$", (ROOT / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert titles[0] in ("Forthcoming", MANIFEST.findtext("version"))


def test_pip_puts_one_program_on_the_path(wheel):
    entry_points = ConfigParser()
    entry_points.read_string(read(wheel, ".dist-info/entry_points.txt"))
    assert dict(entry_points["console_scripts"]) == {"image-as-imu": "image_as_imu_ros.__main__:main"}
    assert not [name for name in wheel.namelist() if ".data/scripts/" in name]


def test_every_command_is_an_executable_where_ros2_run_looks(wheel):
    found = {
        Path(entry.filename).name: entry.external_attr >> 16 & 0o111
        for entry in wheel.infolist()
        if ".data/data/lib/image_as_imu_ros/" in entry.filename
    }
    assert found.keys() == COMMANDS.keys()
    assert all(found.values())


def test_types_models_and_launch_files_are_in_the_wheel(wheel):
    names = set(wheel.namelist())
    assert {"image_as_imu_ros/py.typed", "image_as_imu_training/py.typed"} <= names
    data = f"image_as_imu_ros-{MANIFEST.findtext('version')}.data/data/share"
    for folder, pattern in (("launch", "*.launch.py"), ("config", "*"), ("models", "*.onnx")):
        for path in (ROOT / folder).glob(pattern):
            assert f"{data}/image_as_imu_ros/{folder}/{path.name}" in names
    assert f"{data}/ament_index/resource_index/packages/image_as_imu_ros" in names


@pytest.mark.parametrize("option", ["--prefix", "--target"])  # --user and Debian's pip install as --prefix does
def test_models_are_found_wherever_pip_has_put_them(wheel, tmp_path, option):
    """`pip install` without root is one with --user: ~/.local/share is not under Python's own prefix."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed"]
    subprocess.run([*command, option, str(tmp_path), str(wheel.filename)], check=True, timeout=900)
    (packages,) = [path.parents[1] for path in tmp_path.rglob("image_as_imu_ros/__init__.py")]
    found = subprocess.run(
        [sys.executable, "-c", "from image_as_imu_ros.resources import *; print(resource(DEFAULT_MODEL))"],
        env=os.environ | {"PYTHONPATH": str(packages), "AMENT_PREFIX_PATH": ""},  # no ROS workspace knows it
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.stdout.strip() == f"{tmp_path}/share/image_as_imu_ros/models/blur_imu_small.onnx", found.stderr


def test_a_robot_installs_neither_torch_nor_baselines(wheel):
    required = message_from_string(read(wheel, ".dist-info/METADATA")).get_all("Requires-Dist", [])
    always = {re.split(r"[^\w-]", line)[0] for line in required if "extra ==" not in line}
    assert "numpy" in always
    assert not always & {"torch", "pycolmap", "accelerate", "ray", "tensorboard", "pycuda"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_scripts_are_the_same_file_under_the_commands_names(name):
    script = ROOT / "scripts" / name
    assert script.read_text() == (ROOT / "scripts" / "evaluate").read_text()
    assert os.access(script, os.X_OK)


def test_a_script_runs_the_command_that_it_is_named_after():
    command = [sys.executable, str(ROOT / "scripts" / "estimate_image"), "--help"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=900)
    assert result.stdout.startswith("usage: estimate_image")


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--help"], 0), (["evalute"], 2)])
def test_without_a_command_all_are_listed(monkeypatch, capsys, arguments, code):
    monkeypatch.setattr(sys, "argv", ["image-as-imu", *arguments])
    assert main() == code
    printed, said = capsys.readouterr()
    assert all(f"  {name} " in printed for name in COMMANDS)
    assert said == ("image-as-imu: there is no command 'evalute'\n" if code else "")


@pytest.mark.parametrize("arguments", ["image_as_imu_ros", "image_as_imu_ros evaluate --help"])
def test_letters_that_the_terminal_lacks_are_escaped(arguments):
    """LANG=en_US and Windows' code pages have no ω."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", *arguments.split()]
    result = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120)
    assert rb"\u03c9" in result.stdout or rb"\u2192" in result.stdout


def test_a_command_is_run_with_the_arguments_behind_its_name(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["image-as-imu", "estimate_image", "no_such.png", "--fx", "500", "--exposure", "0.01"]
    )
    assert main() == 2
    assert "no_such.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "program", "said"),
    [
        (
            "rclpy",
            "image_as_imu_ros blur_imu_node",
            "blur_imu_node: ROS 2 is missing (no Python package rclpy)",
        ),
        ("geometry_msgs", "image_as_imu_ros demo", "demo: ROS 2 is missing"),
        ("cv2", "image_as_imu_ros estimate_image", "the Python package cv2 is missing: pip install opencv-python"),
        ("hydra", "image_as_imu_training train", "training needs the Python package hydra: pip install '.[train]'"),
        ("torch", "image_as_imu_training train", "training needs the Python package torch: pip install '.[train]'"),
    ],
)
def test_a_missing_package_is_one_sentence(missing, program, said, tmp_path):
    module, argument = program.split()
    hidden = f"import sys, runpy; sys.modules['{missing}'] = None; sys.argv = ['{module}', '{argument}']"
    # None in sys.modules raises ModuleNotFoundError with the package's name, as a package that is not there does.
    command = [sys.executable, "-c", f"{hidden}; runpy.run_module('{module}', run_name='__main__')"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode in (1, 2)
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_package_that_lacks_a_library_is_one_sentence(tmp_path):
    """OpenCV in a container without a display's libraries."""
    reason = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({reason!r}, name='cv2')\n")
    command = [sys.executable, "-m", "image_as_imu_ros", "estimate_image", "photo.png"]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    (said,) = result.stderr.splitlines()
    assert said.startswith(f"estimate_image: the Python package cv2 cannot be loaded: {reason}")
    assert "opencv-python-headless" in said

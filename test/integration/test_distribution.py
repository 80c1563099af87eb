"""`tools/test_distribution.sh`: which versions it tests, and what it does where there is nothing to test with."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "test_distribution.sh"


def test_the_lowest_versions_are_tested():
    """Packages whose lowest release has no build for Python 3.10 are tested in the first that has one."""
    text = (SCRIPT.parents[1] / "pyproject.toml").read_text()
    stated = dict(
        re.findall(r'"([a-z0-9-]+)>=([\d.]+)"', text[text.index("dependencies = [") : text.index("train = [")])
    )
    assert {"numpy", "pyyaml", "pillow", "tqdm", "jinja2", "numba", "rosbags"} <= stated.keys()
    floor = re.search(r"^    floor\)\n(.*?);;", SCRIPT.read_text(), re.MULTILINE | re.DOTALL)[1]
    tested = dict(re.findall(r"([a-z0-9-]+)==([\d.]+)", floor.replace("opencv-python-headless", "opencv-python")))
    for name, version in stated.items():
        assert f"{tested.get(name)}.".startswith(f"{version}."), name


def test_that_nothing_was_tested_is_a_failure(tmp_path):
    bash, dirname = shutil.which("bash"), shutil.which("dirname")
    if bash is None or dirname is None:
        pytest.skip("no bash")
    (tmp_path / "dirname").symlink_to(dirname)
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}  # no Python anywhere
    result = subprocess.run(
        [bash, SCRIPT, "humble", "jazzy"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "SKIPPED: humble (no Python 3.10)" in result.stdout
    assert "nothing was tested" in result.stderr

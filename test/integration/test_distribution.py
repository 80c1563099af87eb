"""`tools/test_distribution.sh` where there is nothing to test with."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "test_distribution.sh"


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

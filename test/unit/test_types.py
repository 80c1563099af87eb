"""The types of both packages check, with the settings of pyproject.toml."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_pyright_finds_no_errors():
    pytest.importorskip("pyright", reason="types are checked where the extra `test` is installed")
    command = [sys.executable, "-m", "pyright", "--project", str(ROOT), "--pythonpath", sys.executable]
    command += ["--outputjson"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    try:
        found = json.loads(result.stdout)
    except json.JSONDecodeError:  # PyPI's pyright fetches Node.js, and of some versions itself, when it first runs
        pytest.skip(f"pyright does not start, perhaps without the network: {result.stderr.strip()[-300:]}")
    errors = [error for error in found["generalDiagnostics"] if error["severity"] == "error"]
    assert found["summary"]["filesAnalyzed"] > 100
    assert not errors, "\n".join(
        f"{Path(error['file']).relative_to(ROOT)}:{error['range']['start']['line'] + 1}: {error['message']}"
        for error in errors
    )

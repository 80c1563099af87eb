"""The source is linted and formatted; files and functions are short; identifiers are the field's words."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

METHOD = ("image_as_imu_ros/engine", "image_as_imu_ros/estimation", "image_as_imu_ros/geometry")
EVERYWHERE = ("image_as_imu_ros", "image_as_imu_training", "launch", "tools")

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60

# What is not said in identifiers, and what is said instead.
FORBIDDEN = {
    **dict.fromkeys(["turn", "turns", "turned", "turning"], "rotation, rotated"),
    **dict.fromkeys(["shift", "shifts", "shifted", "way", "ways"], "translation, displacement, offset"),
    **dict.fromkeys(["spread", "spreads"], "sigma, standard deviation"),
    **dict.fromkeys(["direction", "directions"], "sign; orientation of a streak"),
    **dict.fromkeys(["rival", "rivals"], "hypothesis"),
    **dict.fromkeys(["doubt", "doubts", "doubted", "hopeless"], "rejected, reason; variance inflation"),
    **dict.fromkeys(["believed", "belief", "beliefs", "evidence"], "posterior probability, log-likelihood ratio"),
    **dict.fromkeys(["truth", "truths"], "ground truth"),
    **dict.fromkeys(["gap", "gaps"], "dt"),
    **dict.fromkeys(["clock", "clocks"], "header stamp"),
    **dict.fromkeys(["leakage", "told", "pulled"], "process noise, consider parameter"),
    **dict.fromkeys(["grey", "greys", "look"], "intensity, sample, interpolate"),
    **dict.fromkeys(["picture", "pictures"], "image"),
    "design": "Jacobian",
    **dict.fromkeys(["still", "slow"], "static"),
}
ROS_API = {"clock", "clock_type", "get_clock", "Clock", "ClockType"}  # rclpy's own names
VECTORS = {"linear_direction_error_deg"}  # a direction of v is one
PUBLISHED = {"picture"}  # names tensors in the published weights


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Parse all files of some folders: their paths within the repository, and their trees."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def identifiers(tree: ast.Module) -> Iterator[str]:
    """List the names in a file: what it defines, uses, imports and passes by keyword."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, (ast.arg, ast.keyword)) and node.arg:
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.name.split(".")[-1]


def forbidden_words(identifier: str) -> set[str]:
    """Find the words of a snake_case or CamelCase identifier that the field does not use."""
    if identifier in ROS_API | VECTORS | PUBLISHED:
        return set()
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", identifier).lower()
    words = re.sub(r"ground_truths?", "", words)
    return set(words.split("_")) & FORBIDDEN.keys()


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_ruff_is_content(command):
    pytest.importorskip("ruff", reason="the source is linted where the extra `test` is installed")
    result = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_files_of_the_method_are_short():
    for folder in METHOD:
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= MOST_LINES_OF_A_FILE, path


def test_functions_are_short():
    for path, tree in sources(*EVERYWHERE):
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < MOST_LINES_OF_A_FUNCTION, f"{path}: {node.name}"


def test_text_files_are_utf_8_in_every_locale():
    """What is not said is the locale's, which in a container or under LANG=en_US is not UTF-8."""
    opened = re.compile(r"\.(?:read_text|write_text)\((?!path\))|\.open\(\"w\"")
    unsaid = [
        f"{file}:{number}"
        for folder in ("image_as_imu_ros", "image_as_imu_training")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if opened.search(line) and not line.endswith("(") and "encoding=" not in line
    ]
    assert not unsaid


def test_identifiers_are_the_fields_words():
    found = [
        f"{path}: {identifier}: say {', '.join(FORBIDDEN[word] for word in sorted(words))}"
        for path, tree in sources(*EVERYWHERE)
        for identifier in sorted(set(identifiers(tree)))
        if (words := forbidden_words(identifier))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("identifier", "words"),
    [
        ("half_turn", {"turn"}),
        ("LONGEST_GAP", {"gap"}),
        ("PicturesInMemory", {"pictures"}),
        ("returned", set()),
        ("read_ground_truth", set()),
        ("GroundTruth", set()),
        ("truth_std", {"truth"}),
        ("get_clock", set()),
        ("driver_clock", {"clock"}),
    ],
)
def test_an_identifier_is_split_into_its_words(identifier, words):
    assert forbidden_words(identifier) == words

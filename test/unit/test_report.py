"""The report: one page that holds everything, needs nothing, and opens without complaints."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import replay_bags as bags

from image_as_imu_ros import commands as command_line

SECTIONS = ["summary", "time", "blur", "covariance", "sign", "exposure", "frames", "settings"]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """What matters of a page.

    Attributes:
        text: what is read. sections: ids. images: (source, alternative text). references: what the page would load
            or lead to.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.sections: list[str] = []
        self.images: list[tuple[str, str]] = []
        self.references: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self._open, "every element is closed"

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.references += [
            attributes[name] for name in ("src", "href", "srcset", "data", "action") if name in attributes
        ]
        if tag == "section":
            self.sections.append(attributes["id"])
        if tag == "img":
            self.images.append((attributes["src"], attributes["alt"]))
        if tag not in ("meta", "img", "br", "link", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def evaluate(folder: Path, recording: Path, *options: str) -> Path:
    assert command_line.run("evaluate", [str(recording), "--output", str(folder), *options]) == 0
    return folder / "report.html"


@pytest.fixture
def exact_engine(monkeypatch):
    bags.let_evaluate_see_exactly(monkeypatch)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    recording = bags.moving_camera(folder / "R&D <1>")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        bags.let_evaluate_see_exactly(monkeypatch)
        options = (
            "--exposure",
            "0.01",
            "--sign-resolution",
            "oracle",
            "--ground-truth-std",
            "0.03",
            "--baseline",
            "klt",
        )
        return evaluate(folder, recording, *options)


def test_it_holds_every_section_and_the_figures_of_metrics_json(report):
    page = Page(report)
    assert page.sections == SECTIONS
    assert "R&D <1>" in page.text
    assert "12 frames in" in page.text
    for setting in (
        "--ground-truth-std 0.03",
        "exact 1",
        "160×112 px, fx 130.0",
        "/camera/image_raw/compressed",
        "0.03 rad/s",
    ):
        assert setting in page.text
    assert "before the ground truth was asked" in page.text
    assert "nan" not in page.text.lower()


def test_other_systems_stand_beside_ours(report):
    """KLT finds nothing in uniform images."""
    rows = re.findall(r"<tr>(.*?)</tr>", report.read_text(encoding="utf-8"), re.DOTALL)
    (ours,) = (row for row in rows if "ours, single, oracle" in row)
    (klt,) = (row for row in rows if "klt" in row and "at the frame" in row)
    cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in (ours, klt)]
    assert [len(row) for row in cells] == [8, 8]
    assert cells[0][1] == "100%"
    assert cells[1][1:4] == ["0%", "–", "–"]
    assert "klt: 11 frames without an answer: fewer than 15 corners could be tracked" in Page(report).text


def test_it_needs_nothing_but_itself(report):
    page = Page(report)
    assert all(reference.startswith(("data:image/", "#")) for reference in page.references)
    assert {reference[1:] for reference in page.references if reference.startswith("#")} == set(page.sections)
    source = report.read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|@import|url\(", re.sub(r"data:image/\w+;base64,[\w+/=]+", "", source))
    assert report.stat().st_size < 3_000_000


def test_every_image_can_be_seen_and_is_described(report):
    page = Page(report)
    assert len(page.images) >= 8
    for source, text in page.images:
        data = np.frombuffer(base64.b64decode(source.partition(",")[2]), np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape[0] > 50
        assert len(text) > 20


def test_without_ground_truth_there_is_a_report_that_says_so(tmp_path, exact_engine):
    recording = bags.moving_camera(tmp_path / "bag", ground_truth="none")
    page = Page(evaluate(tmp_path / "out", recording, "--exposure", "0.01"))
    assert page.sections == [one for one in SECTIONS if one not in ("blur", "covariance")]
    assert "holds nothing to compare with" in page.text
    assert "truth" not in page.text.replace(str(tmp_path), "")
    assert "No other system was run" in page.text
    assert "Largest error" not in page.text
    assert "nan" not in page.text.lower()


def test_rotation_only_shows_no_linear_velocity(tmp_path, exact_engine):
    recording = bags.moving_camera(tmp_path / "bag", ground_truth="imu")
    page = Page(evaluate(tmp_path / "out", recording, "--exposure", "0.01", "--motion-model", "rotation"))
    assert "nan" not in page.text.lower()


def complaints(page: Path, profile: Path) -> list[str]:
    """What a browser writes on its console."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0", "--dump-dom", page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "<html" in result.stdout, f"the browser opened nothing:\n{result.stderr}"
    return [line for line in result.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_it_opens_in_chromium_without_console_errors(report, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text('<html><img src="missing.png"><script>nonsense()</script></html>')
    assert complaints(bad, tmp_path / "profile"), "the browser does complain about a page that is wrong"
    assert complaints(report, tmp_path / "profile") == []

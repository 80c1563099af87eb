"""Docs: short where they must be short, true where they repeat the code, and a site without broken links."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
LONGEST_README = 150  # lines


def tool(name: str):
    """Import a script of tools/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(page: Path) -> set[str]:
    """Name the headings of a page as links do."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_read_in_two_minutes():
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST_README


def test_the_table_of_parameters_is_made_of_their_definitions():
    table = tool("parameter_table")
    page = table.PAGE.read_text()
    assert table.page_with(page, table.table()) == page, "run python tools/parameter_table.py"
    assert table.page_with(page, "other") != page


def test_the_parameter_file_lists_every_parameter():
    table = tool("parameter_table")
    listed = yaml.safe_load((ROOT / "config" / "blur_imu.yaml").read_text())["/**"]["ros__parameters"]
    assert listed == {one.name: table.default_of(one) for one in table.settings_of(table.Settings)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page):
    for link in re.findall(r"]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*/README.md")], ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page):
    """From the repository's root, or from the package's. Other folders are those of captures, data sets and outputs."""
    roots = ROOT, ROOT / "image_as_imu_ros"
    for folder, rest in re.findall(r"`([\w-]+)/([\w./-]+\.\w+)`", page.read_text()):
        ours = [root / folder for root in roots if (root / folder).is_dir()]
        assert not ours or any((one / rest).exists() for one in ours), f"{folder}/{rest}"


def test_every_page_is_in_the_index():
    index = (DOCS / "README.md").read_text()
    assert [page.name for page in sorted(DOCS.glob("*.md")) if f"({page.name})" not in index] == ["README.md"]


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "site" / "node" / "index.html").exists()

"""Puts the top of a report into docs/images/report.png: python docs/images/photograph_report.py output/desk/report.html

Needs Chromium.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WINDOW = (1180, 2520)  # px
WIDTH = 885  # px, of the picture


def main(report: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder) / "report.png"
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={folder}/profile", f"--window-size={WINDOW[0]},{WINDOW[1]}"]
        subprocess.run([*command, f"--screenshot={taken}", report.resolve().as_uri()], check=True, capture_output=True)
        picture = Image.open(taken).convert("RGB")
    picture = picture.resize((WIDTH, round(WINDOW[1] * WIDTH / WINDOW[0])), Image.Resampling.LANCZOS)
    # A palette keeps the file small.
    picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(Path(__file__).parent / "report.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

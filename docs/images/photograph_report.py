"""Evaluates the recording in test/data, and puts the top of the report into docs/images/report.png.

    python docs/images/photograph_report.py

Needs Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from image_as_imu_ros import commands as command_line

ROOT = Path(__file__).resolve().parents[2]
EVALUATED = [str(ROOT / "test" / "data" / "desk_rpy_3s"), "--exposure", "0.0184", "--baseline", "klt"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOW = (1180, 2520)  # px
WIDTH = 885  # px, of the picture


def main() -> int:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("no Chromium on this machine", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        if code := command_line.run("evaluate", [*EVALUATED, "--output", f"{folder}/desk"]):
            return code
        taken = Path(folder) / "report.png"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={folder}/profile", f"--window-size={WINDOW[0]},{WINDOW[1]}"]
        page = (Path(folder) / "desk" / "report.html").as_uri()
        subprocess.run([*command, f"--screenshot={taken}", page], check=True, capture_output=True)
        picture = Image.open(taken).convert("RGB")
    picture = picture.resize((WIDTH, round(WINDOW[1] * WIDTH / WINDOW[0])), Image.Resampling.LANCZOS)
    # A palette keeps the file small.
    picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(Path(__file__).parent / "report.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Puts the demo's pictures into docs/images/demo.png: python docs/images/compose_demo.py

Of the demo as a recording, all frames of which are answered however busy the machine is.
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.demo.motion import LONGEST
from image_as_imu_ros.demo.recording import open_recording, rendered
from image_as_imu_ros.demo.report import blurriest_frame, draw_streaks
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

WIDTH = 1280  # px
COLOURS = 128  # of the palette, which keeps the file small


def main() -> int:
    recording = open_recording(rendered(LONGEST))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        record = ["--record", str(output / "demo"), "--seconds", str(LONGEST)]
        evaluate = [str(output / "demo"), "--output", str(output / "evaluated")]
        if code := command_line.run("demo", record) or command_line.run("evaluate", evaluate):
            return code
        draw_streaks(recording, resource(DEFAULT_MODEL), EstimatorConfig(), output / "streaks.png")
        streaks, series = (cv2.imread(str(output / name)) for name in ("streaks.png", "evaluated/time_series.png"))
    half = (WIDTH // 2, WIDTH * 3 // 8)
    frame, streaks = (cv2.resize(image, half) for image in (recording.frames[blurriest_frame(recording)], streaks))
    height = round(series.shape[0] * WIDTH / series.shape[1])
    series = cv2.resize(series, (WIDTH, height), interpolation=cv2.INTER_AREA)
    picture = np.vstack([np.hstack([frame, streaks]), series])
    Image.fromarray(picture[..., ::-1]).quantize(COLOURS).save(Path(__file__).parent / "demo.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

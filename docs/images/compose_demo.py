"""Puts the pictures of a demo run into docs/images/demo.png: python docs/images/compose_demo.py output/demo"""

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from image_as_imu_ros.demo.motion import LONGEST
from image_as_imu_ros.demo.recording import open_recording, rendered
from image_as_imu_ros.demo.report import blurriest_frame

WIDTH = 1280  # px


def main(output: Path) -> None:
    recording = open_recording(rendered(LONGEST))
    half = (WIDTH // 2, WIDTH * 3 // 8)
    frame = cv2.resize(recording.frames[blurriest_frame(recording)], half)
    streaks = cv2.resize(cv2.imread(str(output / "streaks.png")), half)
    series = cv2.imread(str(output / "time_series.png"))
    height = round(series.shape[0] * WIDTH / series.shape[1])
    series = cv2.resize(series, (WIDTH, height), interpolation=cv2.INTER_AREA)
    picture = np.vstack([np.hstack([frame, streaks]), series])
    # A palette keeps the file small.
    Image.fromarray(picture[..., ::-1]).quantize(256).save(Path(__file__).parent / "demo.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

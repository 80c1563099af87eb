"""Makes docs/images/desk.webp of the real frames in test/data: python docs/images/animate_recording.py"""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image

from image_as_imu_ros import Frame, MotionEstimator, Shutter
from image_as_imu_ros.evaluation.overlay import draw_overlay
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[2]
EXPOSURE = 0.0184  # s, fits the recording, which does not tell it
HEIGHT = 300  # px
EVERY = 2  # of the frames, one is shown
DURATION = 133  # ms that it is shown: half the recorded speed
AXES = ("x", "y", "z")


def main() -> None:
    estimator = MotionEstimator.from_model(str(ROOT / "models" / "blur_imu_small.onnx"))
    overlays, estimates = [], []
    with Recording(ROOT / "test" / "data" / "desk_rpy_3s") as recording:
        ground_truth = read_ground_truth(recording, "/ground_truth/twist")
        for message in recording.frames("/camera/image_raw/compressed", "/camera/camera_info", None):
            shutter = Shutter(exposure=EXPOSURE)
            image = message.decode_image(estimator.engine.info.colour)
            estimate = estimator.update(Frame(image, message.stamp, message.camera(), shutter))
            overlays.append(draw_overlay(message.decode_image("rgb"), estimate))
            estimates.append(estimate)
    stamps = np.array([estimate.stamp for estimate in estimates])
    angular = np.array([estimate.velocity.angular for estimate in estimates])
    angular[[estimate.ambiguous for estimate in estimates]] = np.nan  # the node does not publish these
    figure, draw = plots((ground_truth.stamps - stamps[0]) * 1e-9, ground_truth.angular)
    frames = []
    for number in range(0, len(overlays), EVERY):
        overlay = overlays[number]
        draw((stamps - stamps[0])[: number + 1] * 1e-9, angular[: number + 1])
        figure.canvas.draw()
        plot = np.asarray(figure.canvas.buffer_rgba())[..., :3]
        size = (round(overlay.shape[1] * HEIGHT / overlay.shape[0]), HEIGHT)
        left = cv2.resize(overlay, size, interpolation=cv2.INTER_AREA)[..., ::-1]
        frames.append(Image.fromarray(np.hstack([left, plot])))
    output = Path(__file__).parent / "desk.webp"
    frames[0].save(output, save_all=True, append_images=frames[1:], duration=DURATION, loop=0, quality=45, method=6)


def plots(seconds: np.ndarray, true: np.ndarray):
    """Ground truth (N, 3) rad/s over time, and a function that draws estimates over it."""
    figure, panels = plt.subplots(3, 1, sharex=True, figsize=(4.0, HEIGHT / 100), dpi=100, layout="constrained")
    points = []
    for panel, values, axis in zip(panels, true.T, AXES, strict=True):
        panel.plot(seconds, values, color="black", linewidth=1, label="motion capture")
        points += panel.plot([], [], ".", color="#c44e52", markersize=4, label="from the images")
        panel.set_ylabel(f"ω{axis} [rad/s]", fontsize=7)
        panel.tick_params(labelsize=6)
    panels[0].legend(fontsize=6, ncols=2, loc="upper left", frameon=False)
    panels[-1].set_xlabel("time [s]", fontsize=7)

    def draw(at: np.ndarray, estimates: np.ndarray) -> None:
        for line, values in zip(points, estimates.T, strict=True):
            line.set_data(at, values)

    return figure, draw


if __name__ == "__main__":
    main()

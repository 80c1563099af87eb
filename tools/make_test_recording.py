"""Make test/data/desk_rpy_3s from the recording desk_rpy_a: python tools/make_test_recording.py RECORDING OUTPUT

desk_rpy_a is the first half of TUM RGB-D freiburg1_rpy, as rosbag2. Kept are three seconds with sharp to strongly
blurred frames. Images are encoded again so that the result is small enough for a repository, depth is left out, all
else is copied byte by byte.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer

FIRST, LAST = 60, 150  # frames of desk_rpy_a, both included
JPEG_QUALITY = 85  # 4.5 MB: less than the 5 MB that a repository should carry, with 90 it is more
IMAGE_TOPIC = "/camera/image_raw/compressed"
INFO_TOPIC = "/camera/camera_info"
GROUND_TRUTH_TOPIC = "/ground_truth/twist"
MARGIN = 100_000_000  # of ground truth before the first frame and after the last, ns


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description="desk_rpy_a → the three seconds in test/data.")
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="folder of desk_rpy_a")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder to make")
    args = parser.parse_args()
    with AnyReader([args.recording]) as reader:
        write(reader, args.output)


def write(reader: AnyReader, output: Path) -> None:
    """Copy the chosen frames, their camera_info and the ground truth around them into a new MCAP bag."""
    frames = [entry[1] for entry in reader.messages(_connections(reader, IMAGE_TOPIC))]
    first, last = frames[FIRST], frames[LAST]
    with Writer(output, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as writer:
        writers: dict[str, Connection] = {}
        for connection, stamp, data in reader.messages(
            _connections(reader, IMAGE_TOPIC, INFO_TOPIC, GROUND_TRUTH_TOPIC)
        ):
            margin = MARGIN if connection.topic == GROUND_TRUTH_TOPIC else 0
            if not first - margin <= stamp <= last + margin:
                continue
            if connection.topic not in writers:
                writers[connection.topic] = writer.add_connection(
                    connection.topic, connection.msgtype, typestore=reader.typestore
                )
            if connection.topic == IMAGE_TOPIC:
                data = encoded_again(reader, connection, data)
            writer.write(writers[connection.topic], stamp, data)


def encoded_again(reader: AnyReader, connection: Connection, data: bytes) -> memoryview:
    """Decode the JPEG of a serialised CompressedImage and encode it with JPEG_QUALITY."""
    message: Any = reader.deserialize(data, connection.msgtype)
    image = cv2.imdecode(np.asarray(message.data), cv2.IMREAD_COLOR)
    assert image is not None, "an image of the recording is damaged"
    message.data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].ravel()
    return reader.typestore.serialize_cdr(message, connection.msgtype)


def _connections(reader: AnyReader, *topics: str) -> list[Connection]:
    return [connection for connection in reader.connections if connection.topic in topics]


if __name__ == "__main__":
    main()

"""MP4 files with a GPMF track, as GoPro cameras write them: https://github.com/gopro/gpmf-parser."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

GYRO_SCALE = 939  # counts per rad/s; what cameras write lies about there


def add_gpmf(video: Path, angular: np.ndarray, exposures: np.ndarray, seconds: float) -> None:
    """Add a track to a video of OpenCV: (N, 3) rad/s in the order of the file and (M,) s, in one block of `seconds`."""
    payload = _container(
        b"DEVC",
        _klv(b"DVID", b"L", 4, struct.pack(">I", 1)),
        _klv(b"DVNM", b"c", 1, b"Camera"),
        _container(
            b"STRM",
            _klv(b"STMP", b"J", 8, struct.pack(">Q", 0)),
            _klv(b"TSMP", b"L", 4, struct.pack(">I", len(angular))),
            _klv(b"STNM", b"c", 1, b"Gyroscope"),
            _klv(b"SIUN", b"c", 5, b"rad/s"),
            _klv(b"SCAL", b"s", 2, struct.pack(">h", GYRO_SCALE)),
            _klv(b"GYRO", b"s", 6, np.rint(angular * GYRO_SCALE).astype(">i2").tobytes()),
        ),
        _container(
            b"STRM",
            _klv(b"TSMP", b"L", 4, struct.pack(">I", len(exposures))),
            _klv(b"STNM", b"c", 1, b"Exposure time (shutter speed)"),
            _klv(b"SHUT", b"f", 4, exposures.astype(">f4").tobytes()),
        ),
    )
    content = video.read_bytes()
    start = _find(content, b"moov")
    before, movie = content[:start], content[start + 8 :]
    track = _track(len(before) + 8, len(payload), round(1000 * seconds))
    video.write_bytes(before + _box(b"mdat", payload) + _box(b"moov", movie + track))


def _klv(key: bytes, kind: bytes, size: int, data: bytes) -> bytes:
    return key + kind + struct.pack(">BH", size, len(data) // size) + data + bytes(-len(data) % 4)


def _container(key: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return key + b"\0" + struct.pack(">BH", 1, len(content)) + content


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def _full(kind: bytes, *parts: bytes) -> bytes:
    return _box(kind, bytes(4), *parts)


def _find(content: bytes, kind: bytes) -> int:
    position = 0
    while content[position + 4 : position + 8] != kind:
        position += struct.unpack_from(">I", content, position)[0]
    return position


def _track(offset: int, size: int, milliseconds: int) -> bytes:
    unity = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    header = _box(
        b"tkhd", struct.pack(">4I", 7, 0, 0, 9), bytes(4), struct.pack(">I", milliseconds), bytes(16), unity, bytes(8)
    )
    table = _box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1), _box(b"gpmd", bytes(6), struct.pack(">HI", 1, 0))),
        _full(b"stts", struct.pack(">3I", 1, 1, milliseconds)),
        _full(b"stsc", struct.pack(">4I", 1, 1, 1, 1)),
        _full(b"stsz", struct.pack(">3I", 0, 1, size)),
        _full(b"stco", struct.pack(">2I", 1, offset)),
    )
    data = _box(b"dinf", _full(b"dref", struct.pack(">I", 1), _box(b"url ", struct.pack(">I", 1))))
    media = _box(
        b"mdia",
        _full(b"mdhd", bytes(8), struct.pack(">2I", 1000, milliseconds), bytes(4)),
        _full(b"hdlr", b"mhlrmeta", bytes(12), b"\x0bGoPro MET  \0"),
        _box(b"minf", _box(b"gmhd", _full(b"gmin", bytes(12))), data, table),
    )
    return _box(b"trak", header, media)

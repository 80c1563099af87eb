"""Files of recordings: rosbag2 (sqlite3, MCAP) and ROS 1 bags, whole or damaged, and the types of their messages."""

from __future__ import annotations

import logging
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from image_as_imu_ros.errors import InputError, first_line
from image_as_imu_ros.recordings.salvage import MCAP_MAGIC, SQLITE_MAGIC, SalvageReader, cure_of

_ROS1_MAGIC = b"#ROSBAG V2.0"
_SUFFIXES = (".mcap", ".db3")
_ENDS_OF_NAMES = (*_SUFFIXES, ".bag", ".active", ".zstd")
_READ_SERIALIZATIONS = ("cdr", "")  # that of ROS 2, and none named, as in ROS 1

_log = logging.getLogger(__name__)


def recording_name(path: str | Path) -> str:
    """Name a recording: as its folder, or as its file without .mcap, .db3, .bag and what may follow these.

    Anything else behind a dot belongs to the name: `run_0.5` and `run_0.8` are two recordings.
    """
    path = Path(path).resolve()
    if path.is_dir():
        return path.name
    while path.suffix in _ENDS_OF_NAMES:
        path = path.with_suffix("")
    return path.name


class Storage:
    """An open recording: raw messages, and what decodes them. Only types of topics that are read must be known.

    Attributes:
        path: as given.
        connections: those of ROS messages; channels of other kinds (JSON, protobuf, …) are left out.
    """

    def __init__(self, path: Path) -> None:
        """Open a folder or file. What is lost of a damaged one is logged.

        Raises:
            InputError: nothing of it can be read. The message says why and names a cure.
        """
        self.path = path
        self._ros1 = path.is_file() and _starts_with(path, _ROS1_MAGIC)
        self._reader = _open_ros1(path) if self._ros1 else _open_ros2(path)
        # Definitions of Jazzy and Noetic: standard types have not changed for long.
        self._standard = get_typestore(Stores.ROS1_NOETIC if self._ros1 else Stores.ROS2_JAZZY)
        self._types: dict[str, Typestore] = {}
        self._said: set[str] = set()
        self.connections = [
            one
            for one in self._reader.connections
            if getattr(one.ext, "serialization_format", "") in _READ_SERIALIZATIONS
        ]

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def messages(self, connections: list[Connection]) -> Iterator[tuple[Connection, Any]]:
        """Yield (connection, decoded message) in the order of recording. What is damaged is left out and logged, once.

        Raises:
            InputError: a type is not known, or nothing is whole.
        """
        if not connections:
            return
        counts: Counter[str] = Counter()
        reasons: dict[str, str] = {}
        for connection, data in self._whole(connections):
            if connection.msgtype not in self._types:
                self._types[connection.msgtype] = self._typestore(connection)
            store = self._types[connection.msgtype]
            decode = store.deserialize_ros1 if self._ros1 else store.deserialize_cdr
            try:
                message = decode(data, connection.msgtype)
            except Exception as error:  # decoding what is damaged may fail anywhere
                counts[connection.topic] += 1
                reasons.setdefault(connection.topic, first_line(error) if data else "nothing of it is there")
                continue
            yield connection, message
        for topic, count in counts.items():
            self._warn_once(
                topic,
                f"holds {count} messages on {topic!r} that cannot be decoded, the first: {reasons[topic]}",
            )

    def _whole(self, connections: list[Connection]) -> Iterator[tuple[Connection, bytes]]:
        """Yield (connection, data) of all messages that can be read; where rosbags gives up, by `SalvageReader`."""
        came: Counter[str] = Counter()
        try:
            for connection, _, data in self._reader.messages(connections):
                came[connection.topic] += 1
                yield connection, data
            return
        except Exception as error:  # rosbags lets its readers' errors through
            complaint = f"is damaged ({first_line(error)})"
        nothing = not came
        for connection, data in self._salvaged(connections, came):
            nothing = False
            yield connection, data
        if nothing:
            raise InputError(f"recording {str(self.path)!r} {complaint}{_cure(self.path)}")
        self._warn_once("", f"{complaint}: what is whole of it is read{_cure(self.path)}")

    def _salvaged(self, connections: list[Connection], came: Counter[str]) -> Iterator[tuple[Connection, bytes]]:
        """Yield what is whole behind the place where rosbags gave up; it read `came` messages of each topic."""
        if not isinstance(self._reader, Reader2):
            return
        topics, left = {one.topic for one in connections}, came.copy()
        try:
            reader = SalvageReader(_files(self.path))
            for connection, _, data in reader.messages([one for one in reader.connections if one.topic in topics]):
                if left[connection.topic]:
                    left[connection.topic] -= 1
                else:
                    yield connection, data
        except Exception as error:  # what is left is beyond this reader, too
            _log.debug("recording %s: %s", self.path, error)

    def _warn_once(self, about: str, complaint: str) -> None:
        """Log what is lost of a topic, or of all."""
        if about not in self._said:
            self._said.add(about)
            _log.warning("recording %s %s", self.path, complaint)

    def _typestore(self, connection: Connection) -> Typestore:
        """Make the types of a topic: of the recording's definition or, where that is of no use, the standard one."""
        name = connection.msgtype
        try:
            own = get_typestore(Stores.EMPTY)
            own.register(_definitions(connection))
            own.generate_msgdef(name)  # raises where a part is missing
            return own
        except Exception as error:  # what its parser meets in a foreign text may fail anywhere
            if name in self._standard.fielddefs:
                return self._standard
            reason = first_line(error)
        raise InputError(
            f"topic {connection.topic!r} has type {name}, whose definition the recording does not hold ({reason})"
        )


def _definitions(connection: Connection) -> dict:
    definition = connection.msgdef
    if definition.format == MessageDefinitionFormat.MSG:
        return get_types_from_msg(definition.data, connection.msgtype)
    if definition.format != MessageDefinitionFormat.IDL:
        raise ValueError("none was recorded")
    # Several files, each after a line that names it: "IDL: package/msg/Name".
    texts = re.split(r"^=+\nIDL: .*\n", definition.data, flags=re.MULTILINE)
    types: dict = {}
    for text in filter(str.strip, texts):
        types |= get_types_from_idl(text)
    return types


def _open_ros1(path: Path) -> Reader1:
    try:
        reader = Reader1(path)
        reader.open()
    except Exception as error:  # as below
        cure = f"rosbag reindex {path.name}" + (f", then rename it to {path.stem}" if path.suffix == ".active" else "")
        raise InputError(
            f"recording {str(path)!r} is a ROS 1 bag that was not closed or is damaged ({first_line(error)}); cure: "
            f"{cure}"
        ) from None
    return reader


def _open_ros2(path: Path) -> Reader2 | SalvageReader:
    reason = "its recorder was killed"
    if not any(map(_has_log, _files(path))):  # which rosbags does not read
        try:
            reader = Reader2(path)
            reader.open()
            return reader
        except Exception as error:  # rosbags lets the errors of its YAML, SQLite and MCAP readers through
            reason = first_line(error)
    try:
        salvaged = SalvageReader(_files(path))
    except (InputError, OSError) as error:
        raise InputError(
            f"recording {str(path)!r} cannot be read as a rosbag2 ({reason}; {first_line(error)}){_cure(path)}"
        ) from None
    complaint = reason if "missing" in reason and path.is_dir() else salvaged.complaint
    if complaint:
        _log.warning("recording %s is not whole: %s", path, complaint)
    return salvaged


def _cure(path: Path) -> str:
    """Say what may help to read a recording, for the end of an error message."""
    if path.name == "metadata.yaml":
        return "; give its folder"
    if path.is_dir() and (bags := sorted(file.name for file in path.glob("*.bag"))):
        return f"; ROS 1 bags are read one by one: give {bags[0]}"
    compressed = [path] if path.is_file() else sorted(path.iterdir())
    if found := [file.name for file in compressed if file.suffix == ".zstd"]:
        return f"; its files are compressed: unzstd {shlex.quote(found[0])}, then give what comes of it"
    return "".join(f"; {cure_of(file)} may rescue something" for file in _files(path)[:1])


def _files(path: Path) -> list[Path]:
    """List the files of a recording in the order in which they were written."""
    if path.is_file():
        return [path] if _starts_with(path, MCAP_MAGIC) or _starts_with(path, SQLITE_MAGIC) else []
    found = (file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    return sorted(found, key=lambda file: [int(part) if part.isdecimal() else part for part in _parts(file)])


def _has_log(file: Path) -> bool:
    """Whether the last messages of a database are still in its write-ahead log, as a killed recorder leaves them."""
    log = file.with_name(f"{file.name}-wal")
    return log.is_file() and log.stat().st_size > 0


def _parts(file: Path) -> list[str]:
    return re.split(r"(\d+)", file.name)


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False

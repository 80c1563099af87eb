"""Reads what is whole in a recording that rosbags refuses: cut off, without metadata, or with foreign topics in it.

Read record by record, without an index: https://mcap.dev/spec, and rosbag2_storage_sqlite3's tables.
"""

from __future__ import annotations

import shlex
import sqlite3
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat

from image_as_imu_ros.errors import InputError

MCAP_MAGIC = b"\x89MCAP0\r\n"
SQLITE_MAGIC = b"SQLite format 3\0"

_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _FOOTER = 0x03, 0x04, 0x05, 0x06, 0x02
_MESSAGE_HEAD = 22  # bytes: channel, sequence, log time, publish time
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # of a compressed message; serialised ones begin with a zero
_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}


@dataclass(frozen=True)
class _Part:
    """One file: its connections, by id, and whether all of their messages can be found."""

    path: Path
    connections: dict[int, Connection]
    whole: bool = True


class SalvageReader:
    """Files of a recording, read as far as they are whole; what is used of `rosbags.rosbag2.Reader`.

    Attributes:
        connections: with definitions where they are of a kind that ROS 2 knows.
        complaint: what is lost, for people; empty where nothing is.
    """

    def __init__(self, paths: list[Path]) -> None:
        """List the connections of files.

        Raises:
            InputError: not a single one can be read. OSError: a file cannot be opened.
        """
        parts, failures = [], []
        for path in paths:
            try:
                parts.append(_mcap_part(path) if _is_mcap(path) else _sqlite_part(path))
            except (sqlite3.Error, ValueError, struct.error) as error:
                failures.append(f"{path.name}: {error}")
        if not parts:
            raise InputError("; ".join(failures) or "it holds no .mcap and no .db3 file")
        self._parts = parts
        self.connections = [one for part in parts for one in part.connections.values()]
        damaged = [_describe_damage(part) for part in parts if not part.whole]
        self.complaint = "; ".join(damaged + [f"{failure} (left out)" for failure in failures])

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield (connection, time of recording in ns, data), as rosbags does; data that are damaged are empty."""
        for part in self._parts:
            wanted = {number: one for number, one in part.connections.items() if one in connections}
            read = _mcap_messages if _is_mcap(part.path) else _sqlite_messages
            for number, time, data in read(part.path, wanted):
                yield wanted[number], time, _decompressed(data)

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""


def _is_mcap(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MCAP_MAGIC)) == MCAP_MAGIC


def cure_of(path: Path) -> str:
    """Write the command that makes a new file of what is whole in a damaged one."""
    name = shlex.quote(path.name)
    if _is_mcap(path):
        return f"mcap recover {name} -o recovered.mcap"
    # .recover is not in every build of sqlite3. Where .dump meets damage, it goes on from the end, and ends so.
    return f"sqlite3 {name} .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 recovered.db3"


def _describe_damage(part: _Part) -> str:
    name, size = part.path.name, part.path.stat().st_size
    what, lost = "damaged", "others are lost"
    if _is_mcap(part.path):
        what, lost = f"cut off after {size / 1e6:.3g} MB", "what came later is lost"
    count = sum(one.msgcount for one in part.connections.values())
    return f"{name} is {what}: {count} messages are found, {lost} ({cure_of(part.path)} makes a whole file of these)"


def _connection(number: int, topic: str, type_name: str, definition: tuple[str, str], encoding: str) -> Connection:
    format_name, text = definition
    kind = _FORMATS.get(format_name, MessageDefinitionFormat.NONE)
    known = MessageDefinition(kind, text if kind != MessageDefinitionFormat.NONE else "")
    return Connection(number, topic, type_name, known, "", 0, ConnectionExtRosbag2(encoding, []), None)


def _mcap_part(path: Path) -> _Part:
    schemas: dict[int, tuple[str, tuple[str, str]]] = {}
    connections: dict[int, Connection] = {}
    counts: Counter[int] = Counter()
    ended = False
    with path.open("rb") as file:
        file.seek(len(MCAP_MAGIC))
        for kind, content in _records(file):
            if kind == _SCHEMA:
                (number,) = struct.unpack_from("<H", content)
                name, format_name, text = _texts(content[2:], 3)
                schemas[number] = name, (format_name, text)
            elif kind == _CHANNEL:
                number, schema = struct.unpack_from("<HH", content)
                topic, encoding = _texts(content[4:], 2)
                type_name, definition = schemas.get(schema, ("", ("", "")))
                connections[number] = _connection(number, topic, type_name, definition, encoding)
            elif kind == _MESSAGE:
                counts[struct.unpack_from("<H", content)[0]] += 1
            ended |= kind == _FOOTER
    if not connections:
        raise ValueError("nothing of it is whole")
    connections = {number: one._replace(msgcount=counts[number]) for number, one in connections.items()}
    return _Part(path, connections, whole=ended)


def _mcap_messages(path: Path, wanted: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
    with path.open("rb") as file:
        file.seek(len(MCAP_MAGIC))
        for kind, content in _records(file):
            if kind == _MESSAGE:
                number, _, time, _ = struct.unpack_from("<HIQQ", content)
                if number in wanted:
                    yield number, time, content[_MESSAGE_HEAD:]


def _records(file: BinaryIO | BytesIO) -> Iterator[tuple[int, bytes]]:
    """Yield (kind, content) of all whole records from the file's position on, those inside chunks too."""
    while len(head := file.read(9)) == 9:
        kind, size = struct.unpack("<BQ", head)
        content = file.read(min(size, _left(file)))
        if kind == _CHUNK:
            yield from _records(BytesIO(_unpacked(content)))
        if len(content) < size:
            return
        if kind != _CHUNK:
            yield kind, content


def _left(file: BinaryIO | BytesIO) -> int:
    position = file.tell()
    end = file.seek(0, 2)
    file.seek(position)
    return end - position


def _unpacked(chunk: bytes) -> bytes:
    """Decompress a chunk, or as much of it as there is."""
    if len(chunk) < 32:
        return b""
    (length,) = struct.unpack_from("<I", chunk, 28)
    compression, data = chunk[32 : 32 + length].decode(), chunk[40 + length :]
    if not compression:
        return data
    return _decompressor(compression).decompress(data)


def _decompressor(compression: str) -> Any:
    """Make a decompressor that takes incomplete data, from a package that rosbags needs too."""
    if compression == "lz4":
        from lz4.frame import LZ4FrameDecompressor

        return LZ4FrameDecompressor()
    if compression != "zstd":
        raise ValueError(f"compression {compression!r} is not known")
    with suppress(ImportError):
        from zstandard import ZstdDecompressor as Zstandard  # type: ignore[import-not-found]  # of older rosbags

        return Zstandard().decompressobj()
    with suppress(ImportError):
        from backports.zstd import ZstdDecompressor as Backported

        return Backported()
    from compression.zstd import ZstdDecompressor  # type: ignore[import-not-found]  # of Python 3.14

    return ZstdDecompressor()


def _decompressed(data: bytes) -> bytes:
    """Undo the compression of a single message, of which metadata.yaml alone tells."""
    if not data.startswith(_ZSTD_MAGIC):
        return data
    try:
        return _decompressor("zstd").decompress(data)
    except Exception:  # its classes differ between packages
        return b""


def _texts(content: bytes, count: int) -> list[str]:
    """Read texts that each follow their length."""
    texts, position = [], 0
    for _ in range(count):
        (length,) = struct.unpack_from("<I", content, position)
        texts.append(content[position + 4 : position + 4 + length].decode(errors="replace"))
        position += 4 + length
    return texts


def _sqlite_part(path: Path) -> _Part:
    with closing(_database(path)) as database:
        definitions = {}
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_definitions'").fetchone():
            rows = database.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
            definitions = {name: (encoding, text) for name, encoding, text in rows}
        topics = database.execute("SELECT id, name, type, serialization_format FROM topics").fetchall()
        try:
            counts, whole = dict(database.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id")), True
        except sqlite3.DatabaseError:
            counts, whole = Counter(number for _, number in _from_both_ends(database)), False
            if not counts:
                raise
    connections = {
        number: _connection(number, topic, name, definitions.get(name, ("", "")), encoding)._replace(
            msgcount=counts.get(number, 0)
        )
        for number, topic, name, encoding in topics
    }
    return _Part(path, connections, whole)


def _sqlite_messages(path: Path, wanted: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
    with closing(_database(path)) as database:
        try:
            rows = database.execute("SELECT id, topic_id FROM messages ORDER BY timestamp").fetchall()
        except sqlite3.DatabaseError:
            rows = _from_both_ends(database)
        for row, number in rows:
            if number in wanted:
                yield number, *_row(database, row)


def _from_both_ends(database: sqlite3.Connection) -> list[tuple[int, int]]:
    """List (row, topic) of messages in the order of writing, up to the first damaged page and from the last one on."""
    found: dict[int, int] = {}
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.DatabaseError):
            found.update(database.execute(f"SELECT id, topic_id FROM messages ORDER BY id {order}"))
    return sorted(found.items())


def _row(database: sqlite3.Connection, row: int) -> tuple[int, bytes]:
    """Read (time, data); large data have pages of their own, and are empty where one of these is damaged."""
    try:
        return database.execute("SELECT timestamp, data FROM messages WHERE id = ?", (row,)).fetchone()
    except sqlite3.DatabaseError:
        return database.execute("SELECT timestamp, x'' FROM messages WHERE id = ?", (row,)).fetchone()


def _database(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    database.execute("PRAGMA writable_schema = ON")  # also opens a file that is shorter than its header says
    return database

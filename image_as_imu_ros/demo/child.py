"""A process of the demo's own: started, watched, and ended whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

_PATIENCE = 5.0  # s for a child to end after an interrupt
_TAIL = 15  # lines of output to show of a child that died


class DemoError(RuntimeError):
    """The demo cannot go on. The message says why."""


class Child:
    """A Python module in its own process. A context manager: leaving it ends the process.

    Attributes:
        name: for people.
        log: file with everything that the process writes.
    """

    def __init__(self, name: str, module: str, arguments: list[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as file:
            # A session of its own: Ctrl-C reaches the demo only, which then ends its children in order.
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def check(self) -> None:
        """Check that the process is running.

        Raises:
            DemoError: it has ended.
        """
        if (code := self._process.poll()) is not None:
            raise DemoError(f"{self.name} ended with exit code {code}; its last words:\n{self.last_output()}")

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def done(self) -> bool:
        """Whether the process has ended well. Raises DemoError if it failed."""
        code = self._process.poll()
        if code:
            self.check()
        return code == 0

    def output(self) -> str:
        """Read all that it wrote so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def last_output(self) -> str:
        """Read the last lines of it, for people."""
        lines = self.output().splitlines()[-_TAIL:]
        return "\n".join(f"  | {line}" for line in lines) or "  | (nothing)"

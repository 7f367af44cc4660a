"""The service in a time of its own, for loops that live weeks in minutes.

python -m pipelines.loop_service FILE    FILE holds the moment: microseconds, eight bytes
"""

import struct
import sys
from pathlib import Path
from typing import Final

from serving.clock import system_clock
from serving.http.run import serve
from serving.settings import ServingSettings

_MOMENT: Final = struct.Struct("<q")
PRESENT: Final = 0  # in place of a moment: what time it is


class Calendar:
    """A moment in a file: one process sets it, others read it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def set(self, moment: int) -> None:
        """Let it be this moment (microseconds), until it is set again; zero for the present."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(_MOMENT.pack(moment))  # eight bytes: whole or not there

    def now(self) -> int:
        """What the file says."""
        (moment,) = _MOMENT.unpack(self._file.read_bytes())
        return int(moment) or system_clock()


if __name__ == "__main__":
    serve(ServingSettings(), clock=Calendar(Path(sys.argv[1])).now)

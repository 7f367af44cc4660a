"""Many rows in few statements, so that SQLite works on them while other threads run Python.

`executemany` gives the interpreter lock back and asks for it again at every row. Beside a thread
that is busy, each of those turns may last `sys.getswitchinterval()`, 5 ms: five hundred rows that
cost 4 ms then take seconds. The CPU is the same.
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

TOGETHER: Final = 100  # rows of a statement; SQLite takes 32,766 values in one


def insert_rows(
    connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[Any]], *, then: str = ""
) -> None:
    """Insert rows in their order.

    Args:
        into: `INSERT INTO table (columns)`.
        rows: Shape (n, columns).
        then: What follows the values, such as `ON CONFLICT ...`.

    Raises:
        sqlite3.Error: As `executemany`; call it inside a transaction.
    """
    whole = len(rows) - len(rows) % TOGETHER
    for start in range(0, whole, TOGETHER):
        statement = _statement(into, len(rows[0]), TOGETHER, then)
        part = rows[start : start + TOGETHER]
        connection.execute(statement, tuple(chain.from_iterable(part)))
    if whole < len(rows):
        connection.executemany(_statement(into, len(rows[0]), 1, then), rows[whole:])


@lru_cache(maxsize=32)
def _statement(into: str, n_columns: int, n_rows: int, then: str) -> str:
    row = f"({','.join('?' * n_columns)})"
    return f"{into} VALUES {','.join([row] * n_rows)} {then}"

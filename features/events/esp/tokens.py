"""Tokens that are good for one body, remembered durably by every process.

Mailgun's signature covers a timestamp and a token, not the body: who saw one delivery could
sign any other with it. A repeated delivery brings the same token with the same body.
"""

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from features.errors import StoreUnavailableError
from features.events.durable import make_directory
from features.events.esp.adapter import Delivery, WebhookRefusedError
from features.events.schema import HOUR_US

LIFE_US: Final = 10 * HOUR_US  # longer than any signature is taken
_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS tokens (
  token TEXT PRIMARY KEY, at INTEGER NOT NULL, digest TEXT NOT NULL)"""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens below one directory."""

    root: Path

    def check(self, provider: str, token: str, delivery: Delivery) -> None:
        """Remember a token with its body.

        Raises:
            WebhookRefusedError: It came with another body before.
            StoreUnavailableError: It cannot be remembered now.
        """
        digest = hashlib.sha256(delivery.raw).hexdigest()
        try:
            make_directory(self.root)
            # No WAL: two processes that both switch a new file to it may refuse each other.
            with closing(sqlite3.connect(self.root / "tokens.sqlite", timeout=10.0)) as connection:
                connection.execute("PRAGMA journal_mode = TRUNCATE")
                connection.execute(_SCHEMA)
                with connection:
                    old = delivery.received_at - LIFE_US
                    connection.execute("DELETE FROM tokens WHERE at < ?", (old,))
                    row = (f"{provider}:{token}", delivery.received_at, digest)
                    connection.execute("INSERT OR IGNORE INTO tokens VALUES (?, ?, ?)", row)
                    query = "SELECT digest FROM tokens WHERE token = ?"
                    known = connection.execute(query, row[:1]).fetchone()[0]
        except (sqlite3.Error, OSError) as error:
            remedy = "check that the disk has room and the directory is writable"
            raise StoreUnavailableError(f"tokens {self.root}", str(error), remedy) from error
        if known != digest:
            remedy = "such a delivery is forged"
            raise WebhookRefusedError(provider, "its token signed another body", remedy)

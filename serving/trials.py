"""Which bundles have passed their trial, remembered beside them for every process and restart.

    <models_dir>/.passed/<onnxruntime-1.31.1>/<digest>    an empty note for each that has

Another onnxruntime is another judge: its notes are its own. A note says no more than that the
child lived; who loads the bundle still checks its hashes and golden rows.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from features.turns import Turns
from models.bundle import digest_of
from models.errors import ModelError
from models.runtime import RUNTIME
from serving.trial import LIMIT_S, Tried, trial

LOG: Final = logging.getLogger("opportune.trials")
FOLDER: Final = ".passed"
# Of several processes that follow one folder one holds the trial, and the others find its note.
PATIENCE_S: Final = 3.0
# What several may take in one child before each is tried alone; three take half a second.
TOGETHER_S: Final = 5.0


class Judge(Protocol):
    """Tries bundles; raises a ModelError where one of them is wrong."""

    def __call__(self, bundles: Sequence[Tried], *, limit_s: float) -> None:
        """As `serving.trial.trial` does it."""


class Trials:
    """Trials held in the background, so that nobody who looks at a folder waits for one.

    Args:
        models_dir: Where the notes lie; without the right to write there each process holds its
            own trials, once for each bundle.
    """

    def __init__(self, models_dir: Path, *, judge: Judge = trial) -> None:
        self._notes = models_dir / FOLDER / RUNTIME
        self._judge = judge
        self._passed: set[str] = set()
        self._failed: dict[str, ModelError] = {}
        self._held: dict[str, threading.Thread] = {}

    def together(self, bundles: Sequence[Tried]) -> None:
        """Try several in one child, here and now; whoever has not passed is tried alone later.

        One child takes a third of the time of three, but cannot tell whose fault a fault is.
        """
        if len(self._unknown(bundles)) < 2:
            return
        try:
            with self._turn("together"):
                if new := self._unknown(bundles):  # the others may have tried them meanwhile
                    self._judge(new, limit_s=TOGETHER_S)
                for one in new:
                    self._note(one.digest)
        except ModelError as error:
            LOG.warning("new bundles are tried one by one: %s", error)
        except Exception:  # whoever looks next begins anew
            LOG.exception("trying new bundles together failed")

    def has_passed(self, folder: Path, name: str, digest: str) -> bool:
        """Whether a bundle has passed; False while it is on trial, which begins with this call.

        Raises:
            ModelError: It has failed; asked once more, it is tried once more.
        """
        if self._is_noted(digest):
            return True
        if digest in self._failed:
            raise self._failed.pop(digest)
        if digest not in self._held:
            thread = threading.Thread(
                target=self._hold,
                args=(Tried(folder, name, digest),),
                name="opportune-trial",
                daemon=True,
            )
            self._held[digest] = thread
            thread.start()
        return False

    def settle(self) -> None:
        """Wait until no bundle is on trial."""
        for thread in list(self._held.values()):
            thread.join()

    def __call__(self, folder: Path, name: str) -> None:
        """Try a bundle here and now, if it has not passed.

        Raises:
            ModelError: It is refused.
        """
        self._try(Tried(folder, name, digest_of(folder)))

    def _hold(self, one: Tried) -> None:
        try:
            self._try(one)
        except ModelError as error:
            self._failed[one.digest] = error
        except Exception:  # whoever looks next begins anew
            LOG.exception("the trial of %s failed", one.folder)
        finally:
            del self._held[one.digest]

    def _try(self, one: Tried) -> None:
        with self._turn(one.digest):
            if not self._is_noted(one.digest):
                self._judge([one], limit_s=LIMIT_S)
                self._note(one.digest)

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        with suppress(OSError):
            self._notes.mkdir(parents=True, exist_ok=True)
        turn = self._notes / f"{name}.turn"
        try:
            with Turns(turn, patience_s=PATIENCE_S).taken():
                yield
        finally:
            with suppress(OSError):
                turn.unlink()

    def _unknown(self, bundles: Sequence[Tried]) -> list[Tried]:
        return [one for one in bundles if not self._is_noted(one.digest)]

    def _is_noted(self, digest: str) -> bool:
        return digest in self._passed or (self._notes / digest).is_file()

    def _note(self, digest: str) -> None:
        self._passed.add(digest)
        with suppress(OSError):
            (self._notes / digest).touch()

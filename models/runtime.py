"""The one door to onnxruntime: a session per bundle, one thread, from bytes.

Memory is kept between runs, which takes a third off the send-time graph; what is kept is bounded
by the rows of one run.

A row's answer is the same to the bit whatever rows it comes with. Left to itself it is not: a
logarithm takes four rows at a time, and what is left over goes another way, which may end in
another last bit. So the rows are made a multiple of four.

Many workers beat many threads; spinning threads burn CPU between calls. Graphs are loaded
from bytes, and weights outside them are looked for in a folder that cannot be: left to itself
onnxruntime follows them from the working directory, and upwards from there.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.errors import BundleMismatchError
from models.spec import ModelSpec

Floats = NDArray[np.float32]
RUNTIME: Final = f"onnxruntime-{ort.__version__}"
# Rows of one run: beyond them the numbers between two steps leave the cache.
ROWS: Final = 500
LANES: Final = 4
_FOLDER: Final = "session.model_external_initializers_file_folder_path"


class Session:
    """A graph ready to score.

    Raises:
        BundleMismatchError: The graph cannot be loaded, or its inputs or outputs are not
            those of the spec.
    """

    def __init__(self, graph: bytes, spec: ModelSpec) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(_FOLDER, "/dev/null/none")
        try:
            session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleMismatchError(spec.name, f"cannot be loaded: {error}") from error
        self._session: Any = session
        self._input = session.get_inputs()[0].name
        self._outputs = [output.name for output in spec.outputs]
        found = [output.name for output in session.get_outputs()]
        width = session.get_inputs()[0].shape[-1]
        if found != self._outputs or width != len(spec.inputs):
            problem = f"answers {found} from {width} inputs, not {self._outputs} from "
            raise BundleMismatchError(spec.name, f"{problem}{len(spec.inputs)}")

    def run(self, rows: Floats) -> Mapping[str, Floats]:
        """Score rows of shape (n, n_inputs); every output has shape (n, width)."""
        n = len(rows)
        if missing := -n % LANES:
            rows = np.concatenate([rows, np.zeros((missing, rows.shape[1]), rows.dtype)])
        parts = [
            self._session.run(self._outputs, {self._input: rows[begin : begin + ROWS]})
            for begin in range(0, max(n, 1), ROWS)
        ]
        answers = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return {name: all_[:n] for name, all_ in zip(self._outputs, answers, strict=True)}

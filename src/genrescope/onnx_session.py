"""The only place that makes an ONNX Runtime session.

A graph is bytes whose hash was checked by whoever hands it over. Large weights are handed over as
bytes, too: a graph may name any file of the machine for its weights, so no file is ever opened.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WEIGHTS_FILE: Final = "model.onnx.data"
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


class SessionError(Exception):
    """A graph can't be run: damaged, of an unknown operator, or with weights in another file."""


def onnx_session(
    model: bytes, *, weights: bytes | None = None, threads: int = 1
) -> InferenceSession:
    """Open a graph for inference on the processor.

    Parameters
    ----------
    model
        The ONNX graph.
    weights
        Its external data, which the graph names as `model.onnx.data`.
    threads
        For one call of `run`; 0 lets ONNX Runtime choose. With 1 the order of additions is fixed,
        so the same input gives the same output bit for bit.

    Raises
    ------
    SessionError
        When the graph can't be run.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Without this line weights in other files would be looked for in the current folder.
    options.add_session_config_entry(_WEIGHTS_FOLDER, os.devnull)
    if weights is not None:
        if not hasattr(options, "add_external_initializers_from_files_in_memory"):
            raise SessionError("needs a newer ONNX Runtime: pip install -U onnxruntime")
        options.add_external_initializers_from_files_in_memory(
            [WEIGHTS_FILE], [weights], [len(weights)]
        )
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class of their own
        raise SessionError(f"can't be run: {error}") from None

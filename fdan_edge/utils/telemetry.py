"""Keep ONNX Runtime from reporting its use to its maker.

Once it is imported, ONNX Runtime 1.31 looks up mobile.events.data.microsoft.com, and keeps a number of this
device and a queue of reports in ~/.cache/Microsoft. It does neither where an environment variable says so before
the import; its function `disable_telemetry_events` can be called only when the files are written.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "ORT_DISABLE_TELEMETRY"

_too_late = False


def turn_off() -> None:
    """Set the variable for this process and those that it starts, whatever it was."""
    global _too_late
    _too_late = _too_late or ("onnxruntime" in sys.modules and os.environ.get(VARIABLE) != "1")
    os.environ[VARIABLE] = "1"


def is_too_late() -> bool:
    """Tell whether a program had imported ONNX Runtime, with its telemetry, before it imported fdan_edge."""
    return _too_late

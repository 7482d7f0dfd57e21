"""``manage.py export-onnx``: starts ``apps.engine.onnx.export`` with the engines' interpreter. No Django, nothing of engines."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from controlplane.launcher.engine import ROOT, interpreter


def export_onnx(arguments: Sequence[str]) -> NoReturn:
    """Become ``apps.engine.onnx.export`` in the engines' environment: PyTorch and its kin are not in this one."""
    python = interpreter()
    if python is None:
        sys.exit("export-onnx: the engines' packages are not installed: python deploy/engine.py installs them (gigabytes, once).")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        os.execve(python, [str(python), "-m", "apps.engine.onnx.export", *arguments], environment)
    except OSError as error:
        sys.exit(f"export-onnx: {python} cannot be run: {error.strerror}. BULKHEAD_AGENT_ENGINE_PYTHON names the engines' interpreter.")

"""What ``import lstm97`` changes in its host: ``python host_import.py`` prints the changes as JSON."""

from __future__ import annotations

import gc
import json
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import numpy.random  # imported first, so that its own effects are not counted

UNWANTED = ("safetensors", "click", "tqdm", "matplotlib", "onnx", "importlib.metadata", "email")


def surroundings():
    """The global settings of the process that a library must not change, by name, as text."""
    alive = {
        "threads": (threading.active_count(), len(list(Path("/proc/self/task").iterdir()))),
        "environment": dict(os.environ),
        "warnings": (warnings.filters, warnings.showwarning),
        "signal handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "locale": locale.setlocale(locale.LC_ALL),
        "NumPy's errors": (np.geterr(), np.geterrcall()),
        "NumPy's printing": np.get_printoptions(),
        "NumPy's random numbers": str(np.random.get_state()),  # noqa: NPY002 - the one that all programs share
        "random numbers": random.getstate(),
        "open files": sorted(
            (file.name, os.readlink(file)) for file in Path("/proc/self/fd").iterdir() if file.exists()
        ),
        "folder": os.getcwd(),
        "sys.path": sys.path,
        "hooks": (sys.excepthook, sys.displayhook, sys.meta_path, sys.path_hooks, threading.excepthook),
        "tracing": (sys.gettrace(), sys.getprofile()),
        "interpreter": (sys.getswitchinterval(), sys.getrecursionlimit(), sys.get_int_max_str_digits()),
        "garbage collection": (gc.isenabled(), gc.get_threshold(), gc.callbacks),
        "logging": (logging.root.handlers, logging.root.level),
    }
    return {name: repr(value) for name, value in alive.items()}


before, modules = surroundings(), set(sys.modules)
import lstm97  # noqa: E402, F401 - the import that is tested

after = surroundings()
print(
    json.dumps(
        {
            "changed": [name for name in before if before[name] != after[name]],
            "unwanted": [name for name in UNWANTED if name in sys.modules],
            "imported here": [name for name in UNWANTED if name in modules],
            "loaded": "lstm97._kernel.engine" in sys.modules,
        }
    )
)

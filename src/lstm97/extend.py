"""For learners, exporters and executors outside the package: what they may use beside the public names.

These names and their meaning are as stable as the public API; the package's other private parts are not.
"""

from __future__ import annotations

from lstm97._advice import Advice, any_presented
from lstm97._checks import integer, not_negative, positive
from lstm97._files import (
    CODES,
    Header,
    decode,
    open_regular,
    read_arrays,
    read_header,
    read_whole,
    sync_folder,
    to_bytes,
    write_whole,
)
from lstm97._kernel.builds import build, show_config
from lstm97._kernel.engine import choose_cpu
from lstm97._kernel.layout import LANE_ORDER, float_dtype
from lstm97._threads import available_cpus, thread_count, usable_cpus
from lstm97._version import __version__

__all__ = [
    "CODES",
    "LANE_ORDER",
    "Advice",
    "Header",
    "__version__",
    "any_presented",
    "available_cpus",
    "build",
    "choose_cpu",
    "decode",
    "float_dtype",
    "integer",
    "not_negative",
    "open_regular",
    "positive",
    "read_arrays",
    "read_header",
    "read_whole",
    "show_config",
    "sync_folder",
    "thread_count",
    "to_bytes",
    "usable_cpus",
    "write_whole",
]

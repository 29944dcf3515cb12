"""Stands in for safetensors where that cannot be had: its format for bytes, without its checks.

Only `free_threaded.sh` puts it on the path, for the thread tests that save, pickle or write checkpoints.
"""


class SafetensorError(Exception):
    """What safetensors raises for bytes that it does not understand."""

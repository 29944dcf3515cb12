"""The version of the package, for its own files and for what it writes."""

__version__ = "0.1.0"

"""An LSTM that learns while it runs: the network and the online learning rule of Hochreiter & Schmidhuber (1997)."""

from importlib import import_module
from typing import TYPE_CHECKING

from lstm97._dispatch import Config, show_config
from lstm97.adapters.c_source import export_c
from lstm97.adapters.onnx_model import export_onnx
from lstm97.checkpoints import Checkpoint
from lstm97.many import train_many
from lstm97.network import Network, State
from lstm97.persistence import load
from lstm97.sequences import Sequences
from lstm97.topology import Topology
from lstm97.training import History, Stop, predict, train

__all__ = [
    "Checkpoint",
    "Config",
    "History",
    "Network",
    "Sequences",
    "State",
    "Stop",
    "Topology",
    "export_c",
    "export_onnx",
    "load",
    "predict",
    "show_config",
    "train",
    "train_many",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lstm97 import executors as executors
    from lstm97 import methods as methods
    from lstm97 import paper as paper
else:

    def __getattr__(name):
        # These are not loaded with the package, but ``lstm97.methods`` finds them without an import of its own.
        if name in ("executors", "methods", "paper"):
            return import_module(f"lstm97.{name}")
        raise AttributeError(f"module 'lstm97' has no attribute {name!r}", name=name)

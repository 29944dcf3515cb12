"""An LSTM that learns while it runs: the network and the online learning rule of Hochreiter & Schmidhuber (1997)."""

from importlib import import_module
from typing import TYPE_CHECKING

from lstm97._kernel.builds import Config, show_config
from lstm97._version import __version__ as __version__
from lstm97.checkpoints import Checkpoint
from lstm97.history import History, Stop
from lstm97.network import Network, State, load
from lstm97.sequences import Sequences
from lstm97.topology import Topology
from lstm97.training import predict, train

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

if TYPE_CHECKING:
    from lstm97 import cluster as cluster
    from lstm97 import demos as demos
    from lstm97 import export as export
    from lstm97 import methods as methods
    from lstm97 import paper as paper
    from lstm97.cluster import executors as executors
    from lstm97.export.c import export_c
    from lstm97.export.onnx import export_onnx
    from lstm97.many import train_many
else:
    # These are imported at first use, so that `import lstm97` stays quick.
    _FUNCTIONS = {"export_c": "export.c", "export_onnx": "export.onnx", "train_many": "many"}
    _MODULES = {name: name for name in ("cluster", "demos", "export", "methods", "paper")}
    _MODULES["executors"] = "cluster.executors"

    def __getattr__(name):
        if name in _MODULES:
            return import_module(f"lstm97.{_MODULES[name]}")
        if name in _FUNCTIONS:
            found = getattr(import_module(f"lstm97.{_FUNCTIONS[name]}"), name)
            globals()[name] = found
            return found
        raise AttributeError(f"module 'lstm97' has no attribute {name!r}", name=name)

    def __dir__():
        return sorted({*globals(), *_FUNCTIONS, *_MODULES})

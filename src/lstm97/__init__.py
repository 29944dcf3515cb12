"""An LSTM that learns while it runs: the network and the online learning rule of Hochreiter & Schmidhuber (1997)."""

from typing import TYPE_CHECKING

from lstm97._kernel.builds import Config, show_config
from lstm97._lazy import lazily
from lstm97._version import __version__ as __version__
from lstm97.checkpoints import Checkpoint
from lstm97.history import History, Stop
from lstm97.network import Network, State, load
from lstm97.optimizers import RLS, SGD, Adam, RMSprop, Scaling
from lstm97.options import Decay
from lstm97.sequences import Sequences
from lstm97.topology import Topology
from lstm97.training import predict, train

__all__ = [
    "RLS",
    "SGD",
    "Adam",
    "Checkpoint",
    "Config",
    "Decay",
    "Forecaster",
    "History",
    "Network",
    "RMSprop",
    "Scaling",
    "Sequences",
    "State",
    "Stop",
    "Streams",
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
    from lstm97.forecaster import Forecaster
    from lstm97.many import train_many
    from lstm97.streams import Streams
else:
    _NAMES = {
        "Forecaster": "lstm97.forecaster",
        "Streams": "lstm97.streams",
        "export_c": "lstm97.export.c",
        "export_onnx": "lstm97.export.onnx",
        "train_many": "lstm97.many",
    }
    _MODULES = {name: f"lstm97.{name}" for name in ("cluster", "demos", "export", "methods", "paper")}
    __getattr__, __dir__ = lazily(globals(), _MODULES | {"executors": "lstm97.cluster.executors"}, _NAMES)

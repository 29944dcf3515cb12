"""An LSTM that learns while it runs: the network and the online learning rule of Hochreiter & Schmidhuber (1997)."""

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

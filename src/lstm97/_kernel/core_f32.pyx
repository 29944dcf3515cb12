# The same loops in float32: setup.py compiles this file with LSTM97_REAL=float.
include "../_core.pyx"

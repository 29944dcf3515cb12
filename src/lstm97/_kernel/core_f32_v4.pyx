# The loops in float32 for x86-64-v4: setup.py compiles this file with LSTM97_REAL=float and -march=x86-64-v4.
include "../_core.pyx"

# The loops in float64 for x86-64-v4: setup.py compiles this file with -march=x86-64-v4.
include "../_core.pyx"

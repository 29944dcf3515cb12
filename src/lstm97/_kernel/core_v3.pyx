# The loops in float64 for x86-64-v3: setup.py compiles this file with -march=x86-64-v3.
include "../_core.pyx"

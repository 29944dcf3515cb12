"""Benchmarks: ``python -m benchmarks`` prints one table, with a peer beside every figure of ours."""

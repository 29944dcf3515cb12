"""Trials of the rows: one with a seed, many side by side, and their records, times and sums."""

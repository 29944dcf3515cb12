"""Demonstrations of our own, on data that are not the paper's."""

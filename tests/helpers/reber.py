"""The edges of Reber's grammar, as the judge of its strings."""

from __future__ import annotations

# The inner grammar as the paper draws it, edge by edge: node, symbol, next node.
EDGES = ["0B1", "1T2", "1P3", "2S2", "2X4", "3T3", "3V5", "4X3", "4S6", "5P4", "5V6", "6E7"]


def inner_successors(string):
    """The symbols that may follow each prefix of an inner string, by the edges; None if it leaves the grammar."""
    node, found = "0", []
    for symbol in string:
        found.append({edge[1] for edge in EDGES if edge[0] == node})
        node = next((edge[2] for edge in EDGES if edge[:2] == node + symbol), None)
        if node is None:
            return None
    return found if node == "7" else None

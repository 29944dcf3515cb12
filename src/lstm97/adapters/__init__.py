"""Bridges to other ecosystems. What they need beside NumPy is imported only when they are called."""

"""Bridges to other ecosystems, each imported only where it is used."""

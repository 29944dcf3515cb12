"""Names of a package that are imported at first use, so that importing the package itself stays quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(
    package: dict[str, Any], modules: Mapping[str, str], names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package.

    Parameters
    ----------
    package : dict
        The package's `globals()`.
    modules : mapping of str to str
        The full name of each module that the package has as an attribute.
    names : mapping of str to str
        The full name of the module that each other name is from.
    """

    def find(name: str) -> Any:
        if name in modules:
            return import_module(modules[name])
        if name in names:
            package[name] = getattr(import_module(names[name]), name)
            return package[name]
        raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}", name=name)

    return find, lambda: sorted({*package, *modules, *names})

"""The examples in docstrings run and print the output shown."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import pytest

import lstm97

# Builds of the loops are left out: this CPU may be unable to run them.
MODULES = [
    info.name
    for info in pkgutil.walk_packages(lstm97.__path__, "lstm97.")
    if not re.search(r"\.(_core$|_kernel\.core)", info.name)
]


@pytest.mark.parametrize("name", ["lstm97", *MODULES])
def test_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={**vars(lstm97), "lstm97": lstm97})
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = ("topology", "network", "sequences", "training")
    methods = ("topology", "recurrent", "cascade", "elementwise")
    modules = [f"lstm97.{name}" for name in (*names, *(f"methods.{name}" for name in methods))]
    for name in modules:
        assert any(test.examples for test in finder.find(importlib.import_module(name))), name

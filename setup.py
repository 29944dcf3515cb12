"""Compiled modules: the loops of `_core.pyx` once per float type, and `_engine.pyx`, which calls them."""

import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]
LIBRARIES = [] if sys.platform == "win32" else ["m"]


def core(name: str, real: str) -> Extension:
    """One build of the loops."""
    return Extension(
        f"lstm97.{name}",
        [f"src/lstm97/{name}.pyx"],
        define_macros=[("LSTM97_REAL", real), ("LSTM97_REAL_IS_DOUBLE", str(int(real == "double")))],
        depends=["src/lstm97/_core.pyx", "src/lstm97/_abi.pxd", "src/lstm97/_lanes.h"],
        extra_compile_args=FLAGS,
        libraries=LIBRARIES,
    )


setup(
    ext_modules=cythonize(
        [
            core("_core", "double"),
            core("_core_f32", "float"),
            Extension("lstm97._engine", ["src/lstm97/_engine.pyx"], extra_compile_args=FLAGS, libraries=LIBRARIES),
        ],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "embedsignature": True,
            "warn.unused": True,
        },
    )
)

"""Compiled modules: `_core.pyx` per float type and instruction set, its caller `_engine.pyx`, those of `methods`."""

import os
import sys
import sysconfig

from Cython.Build import cythonize
from setuptools import Extension, setup

FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]
# What is declared inline is inlined, so that an argument that is constant in a call is a constant of its loops.
INLINE = {"CYTHON_INLINE": "__inline__ __attribute__((always_inline))"}
# For checking tools: LSTM97_SANITIZE=address,undefined builds all modules with these sanitizers.
SANITIZERS = os.environ.get("LSTM97_SANITIZE")
SANITIZE = [f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=undefined"] if SANITIZERS else []
if SANITIZE:
    FLAGS += [*SANITIZE, "-g", "-fno-omit-frame-pointer"]
LIBRARIES = [] if sys.platform == "win32" else ["m"]
DEPENDS = [f"src/lstm97/{name}" for name in ("_core.pyx", "_abi.pxd", "_stop_rule.pxd", "_lanes.h", "_cpu.h")]

# Suffix of the modules' names: instruction set. macOS gets the baseline only: there AVX code has crashed imports.
LEVELS = {"": None}
if sysconfig.get_platform() in ("linux-x86_64", "mingw_x86_64", "mingw_x86_64_ucrt", "mingw_x86_64_clang"):
    LEVELS |= {"_v3": "x86-64-v3", "_v4": "x86-64-v4"}


def module(name: str, level: str | None = None, macros: dict[str, str] | None = None) -> Extension:
    """One compiled module of the package."""
    return Extension(
        f"lstm97.{name}",
        [f"src/lstm97/{name.replace('.', '/')}.pyx"],
        depends=DEPENDS,
        define_macros=list((macros or {}).items()),
        extra_compile_args=FLAGS + ([f"-march={level}"] if level else []),
        extra_link_args=SANITIZE,
        libraries=LIBRARIES,
    )


modules = [module("_engine"), module("methods._recurrent"), module("methods._cascade")]
for suffix, level in LEVELS.items():
    modules.append(module(f"_core{suffix}", level, INLINE | {"LSTM97_REAL": "double", "LSTM97_REAL_IS_DOUBLE": "1"}))
    modules.append(module(f"_core_f32{suffix}", level, INLINE | {"LSTM97_REAL": "float", "LSTM97_REAL_IS_DOUBLE": "0"}))

setup(
    ext_modules=cythonize(
        modules,
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

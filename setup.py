"""Compiled modules: `_core.pyx` per float type and instruction set, its callers `engine.pyx`, `trainer.pyx` and
`cython_api.pyx`, and those of `methods`.
"""

import os
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# Python's own flags include -g, and debug information is several times the code's size; the last -g option counts.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-g0"]
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
# LSTM97_ABI3=1 builds one wheel for every CPython from 3.11 on. Calls into it take some tenths of a microsecond longer
# than into a wheel for one version. Free-threaded CPythons have no such ABI.
ABI3 = os.environ.get("LSTM97_ABI3") == "1" and not FREE_THREADED
LIMITED_API = {"Py_LIMITED_API": "0x030B0000"} if ABI3 else {}
# Functions declared inline are always inlined, so that an argument that is constant in a call is constant in its loops.
INLINE = {"CYTHON_INLINE": "__inline__ __attribute__((always_inline))"}
# LSTM97_SANITIZE=address,undefined, for example, builds all modules with these sanitizers.
SANITIZERS = os.environ.get("LSTM97_SANITIZE")
SANITIZE = [f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=undefined"] if SANITIZERS else []
if SANITIZE:
    FLAGS += [*SANITIZE, "-g", "-fno-omit-frame-pointer"]
ON_LINUX = sys.platform == "linux"
# On Linux, modules have no symbol names; addresses are resolved at loading and then read-only; no stack is executable.
# -fstack-protector is left out: a `step` would take 2 % longer, as its functions keep views of buffers on the stack.
LINKING = ["-s", "-Wl,-z,relro,-z,now,-z,noexecstack"] if ON_LINUX else []
ON_WINDOWS = sys.platform == "win32"
# On Windows both kinds of CPython share their headers, so the macro must be given; elsewhere the headers define it.
NO_GIL = {"Py_GIL_DISABLED": "1"} if ON_WINDOWS and FREE_THREADED else {}
LIBRARIES = [] if ON_WINDOWS else ["m"]
# The loops use vector types of GCC and clang, which Microsoft's compiler lacks.
BUILD_EXT = {"parallel": os.cpu_count()} | ({"compiler": "mingw32"} if ON_WINDOWS else {})
# A change of any of these builds every module again.
SHARED = sorted(str(file) for ending in ("_core.pyx", "*.pxi", "*.pxd", "*.h") for file in Path("src").rglob(ending))

# Suffix of the modules' names: instruction set. macOS gets the baseline only, as AVX code has crashed imports there.
LEVELS = {"": None}
if sysconfig.get_platform() in ("linux-x86_64", "mingw_x86_64", "mingw_x86_64_ucrt", "mingw_x86_64_clang"):
    LEVELS |= {"_v3": "x86-64-v3", "_v4": "x86-64-v4"}


def module(name: str, level: str | None = None, macros: dict[str, str] | None = None) -> Extension:
    """One compiled module of the package."""
    return Extension(
        f"lstm97.{name}",
        [f"src/lstm97/{name.replace('.', '/')}.pyx"],
        include_dirs=["src/lstm97"],
        depends=SHARED,
        define_macros=list((LIMITED_API | NO_GIL | (macros or {})).items()),
        py_limited_api=ABI3,
        extra_compile_args=FLAGS + ([f"-march={level}"] if level else []),
        extra_link_args=SANITIZE or LINKING,
        libraries=LIBRARIES,
    )


METHODS = ("methods._recurrent", "methods._cascade", "methods._elementwise")
modules = [
    module(name) for name in ("_kernel.engine", "_kernel.trainer", "_kernel.many_streams", "cython_api", *METHODS)
]
for suffix, level in LEVELS.items():
    double = f"_kernel.core{suffix}" if suffix else "_core"
    modules.append(module(double, level, INLINE | {"LSTM97_REAL": "double", "LSTM97_REAL_IS_DOUBLE": "1"}))
    single = f"_kernel.core_f32{suffix}"
    modules.append(module(single, level, INLINE | {"LSTM97_REAL": "float", "LSTM97_REAL_IS_DOUBLE": "0"}))

setup(
    ext_modules=cythonize(
        modules,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "binding": False,  # plain C methods; Cython's own kind of function takes a tenth more memory and wheel
            "embedsignature": True,
            "freethreading_compatible": True,
            "warn.unused": True,
        },
    ),
    options={
        "build_ext": BUILD_EXT,
        "bdist_wheel": {"py_limited_api": "cp311" if ABI3 else False},
    },
)

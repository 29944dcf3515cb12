"""The functions of lstm97.cython_api as Python can call them: through the table that Cython's cimport uses."""

from __future__ import annotations

import ctypes

import numpy as np

from lstm97 import cython_api

STATUS = ("ok", "cell state", "output", "change", "input", "learning rate", "not awaiting", "not learning")  # by number

_POINTER, _SIZE, _INT, _DOUBLE = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_double
_NEEDS_THE_GIL = ("lstm97_bind", "lstm97_unbind")
_TYPES = {
    "lstm97_bind": (_POINTER, ctypes.py_object, _SIZE, _INT),
    "lstm97_unbind": (_INT, _POINTER),
    "lstm97_step": (_INT, _POINTER, _POINTER, _POINTER),
    "lstm97_learn": (_INT, _POINTER, _POINTER, _POINTER, _DOUBLE, _POINTER),
    "lstm97_correct": (_INT, _POINTER, _POINTER, _DOUBLE),
    "lstm97_reset": (None, _POINTER),
}


def c_function(name):
    """The address of a function of lstm97.cython_api, and the name of its C type."""
    capsule = ctypes.py_object(cython_api.__pyx_capi__[name])
    get_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    get_pointer = ctypes.PYFUNCTYPE(_POINTER, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    signature = get_name(capsule)
    return get_pointer(capsule, signature), signature.decode()


def signatures():
    """The text of each function's C type, which Cython compares when it imports the function."""
    return {name: c_function(name)[1] for name in cython_api.__pyx_capi__}


def _function(name):
    prototype = ctypes.PYFUNCTYPE if name in _NEEDS_THE_GIL else ctypes.CFUNCTYPE
    return prototype(*_TYPES[name])(c_function(name)[0])


_bind, _unbind, _step, _learn, _correct, _reset = map(_function, _TYPES)


class Bound:
    """A bound state, in a `with` block; its calls return what `STATUS` says, and outputs are in `y`."""

    def __init__(self, state, *, learns=True, real_bytes=None):
        self.dtype = state._layout.dtype if hasattr(state, "_layout") else np.dtype("float64")
        self.y = np.zeros(state._layout.topology.n_outputs if hasattr(state, "_layout") else 1, self.dtype)
        self.stream = _bind(state, self.dtype.itemsize if real_bytes is None else real_bytes, learns)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def release(self):
        _unbind(self.stream)
        self.stream = None  # unbinding NULL again is allowed

    def _numbers(self, values):
        return None if values is None else np.ascontiguousarray(values, self.dtype)

    def step(self, x):
        x = self._numbers(x)
        return STATUS[_step(self.stream, x.ctypes.data, self.y.ctypes.data)]

    def learn(self, x, target, rate):
        x, target = self._numbers(x), self._numbers(target)
        at = None if target is None else target.ctypes.data
        return STATUS[_learn(self.stream, x.ctypes.data, at, rate, self.y.ctypes.data)]

    def correct(self, target, rate):
        target = self._numbers(target)
        return STATUS[_correct(self.stream, target.ctypes.data, rate)]

    def reset(self):
        _reset(self.stream)

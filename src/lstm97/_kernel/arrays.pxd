# How the structs of abi.pxd get at the memory of NumPy arrays. The caller keeps the arrays alive.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

cdef extern from "_kernel/lanes.h":
    enum:
        ROW_BYTES


cdef inline void* address(object array) except? NULL:
    """Where the data of a C-contiguous array is."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return view.buf


cdef inline void* checked_address(object array, Py_ssize_t n_bytes) except? NULL:
    """As `address`, for an array of at least n_bytes: the loops would read and write beyond a shorter one's end."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    if view.len < n_bytes:
        raise SystemError(f"an array has {view.len} bytes where the loops need {n_bytes}")
    return view.buf


cdef inline int point_at(
    void*** fields, Py_ssize_t n_fields, tuple names, Py_ssize_t stride, Py_ssize_t n, object memory
) except -1:
    """Point fields of n structs, `stride` bytes from each to the next, at the n sets of arrays in a layout.Memory.

    `fields` has, for each name of an array, the address of the field in the first struct.
    """
    cdef object places = memory.places
    cdef dict begins = places.begins
    cdef Py_ssize_t set_bytes = places.stride
    cdef Py_ssize_t i, k, begin
    cdef char* first = <char*> checked_address(memory.block, places.n_bytes)
    if len(names) != n_fields:
        raise SystemError(f"{n_fields} fields of a struct are to point at {len(names)} arrays: {names}")
    if places.n < n:
        raise SystemError(f"there are {places.n} sets of arrays where the loops need {n}")
    first += (ROW_BYTES - <size_t> first % ROW_BYTES) % ROW_BYTES
    for k in range(n_fields):
        begin = begins[names[k]]
        for i in range(n):
            (<void**> (<char*> fields[k] + i * stride))[0] = first + i * set_bytes + begin
    return 0

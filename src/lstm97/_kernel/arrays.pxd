# How the structs of abi.pxd get at the memory of NumPy arrays. The caller keeps the arrays alive.

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_STRIDED, PyBuffer_Release, PyObject_GetBuffer


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


cdef inline int point_at_arrays(
    void*** fields, Py_ssize_t n_fields, tuple names, Py_ssize_t stride, Py_ssize_t n, dict arrays
) except -1:
    """Point fields of n structs, `stride` bytes from each to the next, at the n rows of arrays.

    `fields` has, for each name of an array, the address of the field in the first struct.
    """
    cdef Py_buffer view
    cdef Py_ssize_t i, k
    if len(names) != n_fields:
        raise SystemError(f"{n_fields} fields of a struct are to point at {len(names)} arrays: {names}")
    for k in range(n_fields):
        PyObject_GetBuffer(arrays[names[k]], &view, PyBUF_STRIDED)
        if view.ndim == 0 or view.shape[0] < n:
            PyBuffer_Release(&view)
            raise SystemError(f"{names[k]} has shape {arrays[names[k]].shape} where the loops need {n} rows")
        for i in range(n):
            (<void**> (<char*> fields[k] + i * stride))[0] = <char*> view.buf + i * view.strides[0]
        PyBuffer_Release(&view)
    return 0

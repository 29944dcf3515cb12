# How the structs of abi.pxd get at the memory of NumPy arrays: addresses, and states pointed at their arrays. The
# caller keeps the arrays alive.

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_STRIDED, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t
from libc.string cimport memset

from lstm97._kernel.abi cimport Net, State, real


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


cdef inline int point_at_rows(void** pointer, Py_ssize_t stride, Py_ssize_t n, object array) except -1:
    """Point n pointers, `stride` bytes from each to the next, at the rows of an array along its first axis."""
    cdef Py_buffer view
    cdef Py_ssize_t i
    PyObject_GetBuffer(array, &view, PyBUF_STRIDED)
    for i in range(n):
        (<void**> (<char*> pointer + i * stride))[0] = <char*> view.buf + i * view.strides[0]
    PyBuffer_Release(&view)
    return 0


cdef inline int bind_states(const Net* net, State* st, Py_ssize_t stride, Py_ssize_t n, dict arrays) except -1:
    """Point n states, `stride` bytes from each to the next, at their arrays; no state has seen an input yet."""
    cdef Py_ssize_t i, k
    cdef Py_ssize_t n_z = arrays["z_block"].shape[2]
    cdef Py_ssize_t unread = 0
    cdef State* each
    # Rows of z without the inputs, for symbols alone: z begins before its row by as much as the inputs would take.
    if n_z < net.shape.n_sources:
        unread = net.shape.n_inputs * arrays["z_block"].itemsize
    for i in range(n):
        memset(<char*> st + i * stride, 0, sizeof(State))
    point_at_rows(<void**> &st.act, stride, n, arrays["act"])
    point_at_rows(<void**> &st.y_c, stride, n, arrays["y_c"])
    point_at_rows(<void**> &st.s_c, stride, n, arrays["s_c"])
    point_at_rows(<void**> &st.ds_dw, stride, n, arrays["ds_dw"])
    point_at_rows(<void**> &st.z_block, stride, n, arrays["z_block"])
    point_at_rows(<void**> &st.coef_block, stride, n, arrays["coef_block"])
    point_at_rows(<void**> &st.decay_block, stride, n, arrays["decay_block"])
    point_at_rows(<void**> &st.symbols, stride, n, arrays["symbols"])
    point_at_rows(<void**> &st.h, stride, n, arrays["h"])
    point_at_rows(<void**> &st.y, stride, n, arrays["y"])
    point_at_rows(<void**> &st.s_before, stride, n, arrays["s_before"])
    point_at_rows(<void**> &st.gates, stride, n, arrays["gates"])
    point_at_rows(<void**> &st.decay, stride, n, arrays["decay"])
    point_at_rows(<void**> &st.target, stride, n, arrays["target"])
    point_at_rows(<void**> &st.e_k, stride, n, arrays["e_k"])
    point_at_rows(<void**> &st.eps, stride, n, arrays["eps"])
    point_at_rows(<void**> &st.e, stride, n, arrays["e"])
    point_at_rows(<void**> &st.e_s, stride, n, arrays["e_s"])
    point_at_rows(<void**> &st.sums, stride, n, arrays["sums"])
    point_at_rows(<void**> &st.rows, stride, n, arrays["rows"])
    point_at_rows(<void**> &st.is_listed, stride, n, arrays["is_listed"])
    for i in range(n):
        each = <State*> (<char*> st + i * stride)
        each.symbol = -1
        each.n_z = n_z
        each.z_block = <real*> (<char*> each.z_block - unread)
        each.n_rows = net.shape.n_sources - net.shape.n_inputs
        for k in range(each.n_rows):
            each.rows[k] = <int32_t> (net.shape.n_inputs + k)
    return 0

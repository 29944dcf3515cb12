# Operations on rows of reals, made of the operations of lanes.h on one vector.

cdef extern from "_kernel/lanes.h" nogil:
    ctypedef double real        # float or double: the build's choice
    ctypedef double lanes       # a vector of LANES reals; Cython passes the operators on to C
    ctypedef struct exponential:
        lanes q, p, power
    ctypedef struct factors:    # what a rule of learning multiplies with; see rules.pxi
        lanes rate, m_kept, m_part, v_kept, root, epsilon
    enum:
        LANES, MOST_LANES, VECTORS, WIDE, ROWS, ROW_LANES, REGISTERS, TILE_ROWS, TILE_WIDTH
    lanes load(const real*)
    lanes load_some(const real*, Py_ssize_t)
    void store(real*, lanes)
    lanes splat(real)
    real sum_of(lanes)
    lanes larger(lanes, lanes)
    real largest_of(lanes)
    bint is_zero(lanes)
    lanes magnitude(lanes)
    lanes one_by_root(lanes, lanes, lanes)
    lanes clamped(lanes, lanes)
    real SMALLEST, OF_MEAN
    double HARMLESS, MODERATE, MOST_RATE, MOST_ROOT
    lanes picked(const lanes*, int, const word*)
    lanes where_positive(lanes, lanes, lanes)
    exponential exp_parts(lanes, lanes, lanes, lanes)
    double ONE_BY_LN2
    void add_tile(real*, Py_ssize_t, const real*, Py_ssize_t, Py_ssize_t, const real*, Py_ssize_t, Py_ssize_t, int, int)
    void transpose(lanes*)
    void sum_blocks_of_equal_size(real*, const real*, const real*, Py_ssize_t, Py_ssize_t)
    void add_dots(
        real*, Py_ssize_t, const real*, Py_ssize_t, const int32_t*, const real*, Py_ssize_t, Py_ssize_t, Py_ssize_t,
        Py_ssize_t, Py_ssize_t
    )


cdef inline Py_ssize_t vectors(Py_ssize_t n) noexcept nogil:
    """How many vectors cover n lanes."""
    return <Py_ssize_t> (<size_t> (n + LANES - 1) / <size_t> LANES)  # unsigned: a shift and no more


cdef inline lanes squash(lanes a, const real* c, Py_ssize_t n) noexcept nogil:
    """(plus + minus E) / (1 + E), E = exp(scale a): (3)(4)(5) and tanh, by the constants c in rows of n.

    E = power (q + p) / (q - p), and the fraction is expanded by q - p. For the logistic the numerator is then q - p and
    the denominator, as it is rounded, at least q - p: so its values are within [0, 1].
    """
    cdef exponential e = exp_parts(a, load(c + SCALE * n), load(c + SCALE_BY_LN2 * n), load(c + ONE_BY_SCALE * n))
    cdef lanes plus = load(c + PLUS * n)
    cdef lanes minus = load(c + MINUS * n)
    return (
        ((plus + minus * e.power) * e.q - (plus - minus * e.power) * e.p)
        / ((e.q - e.p) + e.power * (e.q + e.p))
    )


cdef inline lanes logistic(lanes a) noexcept nogil:
    """As squash with the constants of the logistic function, to the bit."""
    cdef exponential e = exp_parts(a, splat(-1), splat(<real> -ONE_BY_LN2), splat(1))
    return (e.q - e.p) / ((e.q - e.p) + e.power * (e.q + e.p))


cdef inline lanes slope(lanes y, const real* c, Py_ssize_t n) noexcept nogil:
    """The derivative of a squashing function, a quadratic in its value y."""
    return (load(c + C2 * n) * y + load(c + C1 * n)) * y + load(c + C0 * n)


cdef inline void add_rows(
    const real* w, Py_ssize_t stride, const real* z, Py_ssize_t n_rows, lanes* acc, int width
) noexcept nogil:
    """acc += sum_m z_m w_m over n_rows rows, for `width` vectors of lanes (a constant where this is inlined)."""
    cdef Py_ssize_t m, i
    cdef lanes z_m
    for m in range(n_rows):
        z_m = splat(z[m])
        for i in range(width):
            acc[i] = acc[i] + load(w + m * stride + i * LANES) * z_m


cdef inline void add_rows_by_four(
    const real* w, Py_ssize_t stride, const real* z, Py_ssize_t n_rows, lanes* acc, int width
) noexcept nogil:
    """As add_rows, in four sums side by side, as in one sum every addition would wait for the addition before it."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n_fours = n_rows // 4
    cdef lanes sums[3 * WIDE]
    for i in range(3 * width):
        sums[i] = splat(0)
    for _ in range(n_fours):
        for i in range(width):
            acc[i] = acc[i] + load(w + i * LANES) * splat(z[0])
            sums[i] = sums[i] + load(w + stride + i * LANES) * splat(z[1])
            sums[width + i] = sums[width + i] + load(w + 2 * stride + i * LANES) * splat(z[2])
            sums[2 * width + i] = sums[2 * width + i] + load(w + 3 * stride + i * LANES) * splat(z[3])
        w += 4 * stride
        z += 4
    add_rows(w, stride, z, n_rows - 4 * n_fours, acc, width)
    for i in range(width):
        acc[i] = (acc[i] + sums[i]) + (sums[width + i] + sums[2 * width + i])


cdef void add_columns(
    real* c, Py_ssize_t c_row, const real* a, Py_ssize_t a_row, Py_ssize_t a_term, const real* b, Py_ssize_t b_term,
    Py_ssize_t n_rows, Py_ssize_t n_terms, int width
) noexcept nogil:
    """`width` vectors of every row of add_product, in tiles of 2^n rows."""
    cdef int height = TILE_ROWS
    while n_rows:
        while n_rows < height:
            height //= 2
        add_tile(c, c_row, a, a_row, a_term, b, b_term, n_terms, height, width)
        n_rows -= height
        c += height * c_row
        a += height * a_row


cdef void add_product(
    real* c, Py_ssize_t c_row, const real* a, Py_ssize_t a_row, Py_ssize_t a_term, const real* b, Py_ssize_t b_term,
    Py_ssize_t n_rows, Py_ssize_t n_terms, Py_ssize_t n_vectors
) noexcept nogil:
    """c_r += sum_k a_rk b_k: every row r of c, `n_vectors` long, gets a sum of the rows of b.

    Neighbouring rows are c_row, a_row, b_term reals apart, neighbouring terms of a a_term. A few vectors' width of b
    is used for all rows of c before the next, so that it stays in the level-2 cache.
    """
    cdef int width = TILE_WIDTH
    while n_vectors:
        width = min(width, n_vectors)
        add_columns(c, c_row, a, a_row, a_term, b, b_term, n_rows, n_terms, width)
        n_vectors -= width
        c += width * LANES
        b += width * LANES


cdef inline void add_scaled(real* to, const real* row, lanes factor, Py_ssize_t n) noexcept nogil:
    """to += factor row, over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    for i in range(vectors(n)):
        store(to + i * LANES, load(to + i * LANES) + factor * load(row + i * LANES))


cdef inline void scale(real* row, const real* factor, Py_ssize_t n) noexcept nogil:
    """row = row factor, over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    for i in range(vectors(n)):
        store(row + i * LANES, load(row + i * LANES) * load(factor + i * LANES))


cdef inline void add_by_lane(
    real* w, const real* a, const real* b, Py_ssize_t n, bint only_check, lanes* bad
) noexcept nogil:
    """w += a b over the vectors that cover n lanes. If `only_check`, w stays; bad is NaN if a sum is not finite."""
    cdef Py_ssize_t i
    cdef lanes sum
    for i in range(vectors(n)):
        sum = load(w + i * LANES) + load(a + i * LANES) * load(b + i * LANES)
        if only_check:
            bad[0] = bad[0] + splat(0) * sum
        else:
            store(w + i * LANES, sum)


cdef inline void add_multiple(
    real* w, const real* a, real factor, Py_ssize_t n, bint only_check, lanes* bad
) noexcept nogil:
    """w += factor a over the vectors that cover n lanes, or only the check, as add_by_lane."""
    cdef Py_ssize_t i
    cdef lanes sum
    for i in range(vectors(n)):
        sum = load(w + i * LANES) + load(a + i * LANES) * splat(factor)
        if only_check:
            bad[0] = bad[0] + splat(0) * sum
        else:
            store(w + i * LANES, sum)


cdef inline void put_product(real* to, const real* a, const real* b, Py_ssize_t n) noexcept nogil:
    """to = a b, over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    for i in range(vectors(n)):
        store(to + i * LANES, load(a + i * LANES) * load(b + i * LANES))


cdef inline void put_block_sums(const Net* net, real* to, const real* a, const real* b) noexcept nogil:
    """to_j = sum over the cells v of block j of a_v b_v."""
    cdef Py_ssize_t v
    cdef real total = 0
    if net.shape.single_cells:
        put_product(to, a, b, net.shape.n_cells)
        return
    if net.shape.block_size:
        sum_blocks_of_equal_size(to, a, b, net.shape.n_blocks, net.shape.block_size)
        return
    for v in range(net.shape.n_cells):  # no branches: a block's first cell multiplies the sum so far by 0
        total = total * net.is_continued[v] + a[v] * b[v]
        to[net.block_of[v]] = total


cdef inline void copy(real* to, const real* row, Py_ssize_t n) noexcept nogil:
    """to = row, over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    for i in range(vectors(n)):
        store(to + i * LANES, load(row + i * LANES))


cdef inline real dot(const real* a, const real* b, Py_ssize_t n) noexcept nogil:
    """sum_k a_k b_k over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    cdef lanes acc = splat(0)
    for i in range(vectors(n)):
        acc = acc + load(a + i * LANES) * load(b + i * LANES)
    return sum_of(acc)


cdef inline lanes magnitudes(const real* a, Py_ssize_t n) noexcept nogil:
    """The sums of |a_i| over i < n, one in each lane of a vector."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n_whole = <Py_ssize_t> (<size_t> n / <size_t> LANES)
    cdef lanes total = magnitude(load_some(a + n_whole * LANES, n - n_whole * LANES))
    for i in range(n_whole):
        total = total + magnitude(load(a + i * LANES))
    return total


cdef Py_ssize_t first_not_finite(const real* a, Py_ssize_t n) noexcept nogil:
    """Index of the first NaN or infinity of a, or -1."""
    cdef Py_ssize_t i
    for i in range(n):
        if a[i] - a[i] != 0:
            return i
    return -1

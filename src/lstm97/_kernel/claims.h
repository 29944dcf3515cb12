/* Claims: a number that says who has something, and that changes from a known value only.
 *
 * With a GIL, under which all this is called, plain accesses do; without it they are atomic, so that of two threads
 * that claim the same thing one gets it. What was written before `give` is seen after the `take` that finds it. */
#ifndef LSTM97_CLAIMS_H
#define LSTM97_CLAIMS_H

#include <stdint.h>

#ifdef Py_GIL_DISABLED
static inline int64_t look(const int64_t *claim) { return __atomic_load_n(claim, __ATOMIC_RELAXED); }

static inline int take(int64_t *claim, int64_t from, int64_t to)
{
    return __atomic_compare_exchange_n(claim, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static inline void give(int64_t *claim, int64_t to) { __atomic_store_n(claim, to, __ATOMIC_RELEASE); }
#else
static inline int64_t look(const int64_t *claim) { return *claim; }

static inline int take(int64_t *claim, int64_t from, int64_t to)
{
    if (*claim != from) return 0;
    *claim = to;
    return 1;
}

static inline void give(int64_t *claim, int64_t to) { *claim = to; }
#endif

#endif

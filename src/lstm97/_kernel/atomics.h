/* Atomic operations on 64-bit integers.
 *
 * The 64 in the names keeps them different from the macros of <stdatomic.h>, which Cython's own code includes. Two
 * families:
 *
 *   atomic_...64   for numbers that threads share while they run without the GIL; all in one order (sequentially
 *                  consistent)
 *   gil_...64      for numbers that are only used with the GIL held. Where there is a GIL they are plain accesses;
 *                  without one they are atomic, and what was written before a store is seen after the
 *                  compare-exchange that finds its value. */
#ifndef LSTM97_ATOMICS_H
#define LSTM97_ATOMICS_H

#include <stdint.h>

static inline int64_t atomic_load64(const int64_t *number) { return __atomic_load_n(number, __ATOMIC_SEQ_CST); }

static inline void atomic_store64(int64_t *number, int64_t value) { __atomic_store_n(number, value, __ATOMIC_SEQ_CST); }

/* Store `value`; returns what was there before. */
static inline int64_t atomic_exchange64(int64_t *number, int64_t value)
{
    return __atomic_exchange_n(number, value, __ATOMIC_SEQ_CST);
}

/* If *number is *expected, store `value` and return 1; else return 0, and *expected is what was found. */
static inline int atomic_compare_exchange64(int64_t *number, int64_t *expected, int64_t value)
{
    return __atomic_compare_exchange_n(number, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* *number += more; returns the sum. */
static inline int64_t atomic_add64(int64_t *number, int64_t more)
{
    return __atomic_add_fetch(number, more, __ATOMIC_SEQ_CST);
}

/* *number = min(*number, value) */
static inline void atomic_min64(int64_t *number, int64_t value)
{
    int64_t found = atomic_load64(number);
    while (value < found && !atomic_compare_exchange64(number, &found, value)) continue;
}

#ifdef Py_GIL_DISABLED
static inline int64_t gil_load64(const int64_t *number) { return __atomic_load_n(number, __ATOMIC_RELAXED); }

/* If *number is `expected`, store `value`; returns whether it was. */
static inline int gil_compare_exchange64(int64_t *number, int64_t expected, int64_t value)
{
    return __atomic_compare_exchange_n(number, &expected, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static inline void gil_store64(int64_t *number, int64_t value) { __atomic_store_n(number, value, __ATOMIC_RELEASE); }
#else
static inline int64_t gil_load64(const int64_t *number) { return *number; }

static inline int gil_compare_exchange64(int64_t *number, int64_t expected, int64_t value)
{
    if (*number != expected) return 0;
    *number = value;
    return 1;
}

static inline void gil_store64(int64_t *number, int64_t value) { *number = value; }
#endif

#endif

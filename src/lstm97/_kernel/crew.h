/* A crew: threads that do the numbered items of one round after another, each item by whoever claims it first.
 *
 * One thread leads: it opens rounds, works like the others, and waits until all items are done. The others may come
 * late or be kept off the processor: nobody waits for a thread that has claimed nothing. Whoever finds nothing to do
 * looks for a while whether that has changed, then sleeps until somebody rings. Needs no GIL. */
#ifndef LSTM97_CREW_H
#define LSTM97_CREW_H

#include <Python.h>
#include <stdint.h>
#include <time.h>
#ifdef __linux__
#include <sched.h>
#endif

enum {
    MOST_ITEMS = 0xffff,
    LOOKS = 50000, /* nanoseconds before one sleeps */
    APART = 128    /* bytes that keep numbers in different cache lines, and in different pairs of them */
};

typedef struct {
    PyThread_type_lock bell; /* locked, but for the moment after somebody rang */
    int64_t is_asleep;
    char apart[APART];
} Bed;

typedef struct {
    int64_t ticket; /* number of the round << 32 | its items << 16 | items claimed */
    char apart[APART];
    int64_t n_done;
    char apart_too[APART];
    int64_t is_over;
    int64_t n_items; /* of the leader's round */
    int64_t n_alone; /* items claimed of a round that the leader does alone, or -1 */
    int64_t n_threads;
    Bed *beds; /* (n_threads,), the leader's first */
} Crew;

static inline int64_t see(const int64_t *number) { return __atomic_load_n(number, __ATOMIC_SEQ_CST); }

static inline void set(int64_t *number, int64_t value) { __atomic_store_n(number, value, __ATOMIC_SEQ_CST); }

static inline int64_t exchange(int64_t *number, int64_t value)
{
    return __atomic_exchange_n(number, value, __ATOMIC_SEQ_CST);
}

static inline int64_t add(int64_t *number, int64_t more) { return __atomic_add_fetch(number, more, __ATOMIC_SEQ_CST); }

/* number = min(number, value) */
static inline void lower(int64_t *number, int64_t value)
{
    int64_t found = see(number);
    while (value < found && !__atomic_compare_exchange_n(number, &found, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        continue;
}

static inline void pause_a_moment(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Nanoseconds on a clock. */
static inline double read_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return 1e9 * (double) time.tv_sec + (double) time.tv_nsec;
}

static inline double now(void) { return read_clock(CLOCK_MONOTONIC); }

static inline double time_on_cpu(void) { return read_clock(CLOCK_THREAD_CPUTIME_ID); } /* of this thread */

/* For short sections. Whoever has it may be kept off the processor: the others then sleep. */
static inline void lock(int64_t *number)
{
    const struct timespec nap = {0, 1000};
    for (int i = 1; exchange(number, 1); i++) {
        pause_a_moment();
        if (i % 1000 == 0) nanosleep(&nap, NULL);
    }
}

static inline void unlock(int64_t *number) { set(number, 0); }

static inline void ring(Bed *bed)
{
    if (see(&bed->is_asleep) && exchange(&bed->is_asleep, 0)) PyThread_release_lock(bed->bell);
}

/* Sleep while *number is `value`, until somebody rings or after some time; whether the number has changed. */
static inline int sleep_while(const int64_t *number, int64_t value, Bed *bed, int64_t microseconds)
{
    int has_rung = 0;
    double until = now() + LOOKS;
    do {
        for (int i = 0; i < 50; i++) {
            if (see(number) != value) return 1;
            pause_a_moment();
        }
    } while (now() < until);
    set(&bed->is_asleep, 1);
    if (see(number) == value) has_rung = PyThread_acquire_lock_timed(bed->bell, microseconds, 0) == PY_LOCK_ACQUIRED;
    /* Somebody who found us asleep rings, at the latest now. */
    if (!has_rung && !exchange(&bed->is_asleep, 0)) PyThread_acquire_lock(bed->bell, WAIT_LOCK);
    return see(number) != value;
}

/* An item of the present round for the thread in this bed, or -1 if all are claimed. */
static inline int64_t claim_item(Crew *crew, const Bed *bed)
{
    int64_t ticket = see(&crew->ticket);
    if (bed == crew->beds && crew->n_alone >= 0) return crew->n_alone < crew->n_items ? crew->n_alone++ : -1;
    while ((ticket & 0xffff) < (ticket >> 16 & 0xffff))
        if (__atomic_compare_exchange_n(&crew->ticket, &ticket, ticket + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return ticket & 0xffff;
    return -1;
}

/* An item is done. */
static inline void end_item(Crew *crew, const Bed *bed)
{
    int64_t n_items = crew->n_items; /* before the leader may change it */
    if (bed == crew->beds && crew->n_alone >= 0)
        crew->n_done++;
    else if (add(&crew->n_done, 1) == n_items && bed != crew->beds)
        ring(crew->beds);
}

/* The processor that this thread is on, or -1. */
static inline int this_cpu(void)
{
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

/* Move this thread to the n-th of the processors it may use, counted from one on, then let it go where it likes.
 *
 * Linux may leave a new thread on the processor of the one that started it for some time, while others are idle. */
static inline void spread_out(int n, int from)
{
#ifdef __linux__
    cpu_set_t allowed, one;
    if (from < 0 || sched_getaffinity(0, sizeof allowed, &allowed)) return;
    n = n % CPU_COUNT(&allowed);
    while (n > 0) {
        from = (from + 1) % CPU_SETSIZE;
        n -= CPU_ISSET(from, &allowed) != 0;
    }
    CPU_ZERO(&one);
    CPU_SET(from, &one);
    if (!sched_setaffinity(0, sizeof one, &one)) sched_setaffinity(0, sizeof allowed, &allowed);
#else
    (void) n, (void) from;
#endif
}

/* The next round's ticket, without items. */
static inline int64_t next_round(Crew *crew)
{
    return (int64_t) ((((uint64_t) see(&crew->ticket) >> 32) + 1) << 32);
}

/* Open a round, for everybody or for the leader alone. */
static inline void open_round(Crew *crew, int64_t n_items, int is_alone)
{
    crew->n_done = 0;
    crew->n_items = n_items;
    crew->n_alone = is_alone ? 0 : -1;
    if (is_alone) return;
    set(&crew->ticket, next_round(crew) | n_items << 16);
    for (int64_t i = 1; i < crew->n_threads && i < n_items; i++) ring(crew->beds + i);
}

/* Wait until all items are done, or for some time; whether they are. */
static inline int await_round(Crew *crew, int64_t microseconds)
{
    int64_t n_done = see(&crew->n_done);
    while (n_done < crew->n_items) {
        if (!sleep_while(&crew->n_done, n_done, crew->beds, microseconds)) return 0;
        n_done = see(&crew->n_done);
    }
    return 1;
}

/* Wait for a round that has something to do; 0 if there will be none. */
static inline int await_work(Crew *crew, Bed *bed)
{
    for (;;) {
        int64_t ticket = see(&crew->ticket);
        if (see(&crew->is_over)) return 0;
        if ((ticket & 0xffff) < (ticket >> 16 & 0xffff)) return 1;
        sleep_while(&crew->ticket, ticket, bed, -1);
    }
}

/* There will be no further rounds. */
static inline void end_rounds(Crew *crew)
{
    set(&crew->is_over, 1);
    set(&crew->ticket, next_round(crew));
    for (int64_t i = 1; i < crew->n_threads; i++) ring(crew->beds + i);
}

#endif

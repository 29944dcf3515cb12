/* The rounds of a team of threads; needs no GIL.
 *
 *   job       one call of `lstm97.train`
 *   portion   the part of a job that one call of `Trainer.train` does: a request (what is asked for) and an outcome
 *             (how far it came)
 *   chunk     packed arrays of steps, inputs and targets: of one stream, or of many sequences one after the other
 *   signal    an error signal: a step with a target, whose errors change the weights
 *   batch     sequences whose changes are summed, after which the weights change once
 *   schedule  the order in which a portion's sequences are trained in batches, batch after batch, share after share
 *   team      the threads that do a job together
 *   worker    one thread of a team, with its arrays
 *   leader    worker 0, the thread that called `lstm97.train`: it opens rounds, claims tasks as the helpers do, and
 *             waits for the end of each round
 *   helpers   the other workers; they wait for rounds until the leader ends the team
 *   round     numbered tasks of one kind, from 0 on; the next round begins when all tasks are done
 *   task      a number of a round, for the worker that claims it first: a share, a part of the weights' rows, or,
 *             in Hogwild training, a worker's part of all sequences
 *   share     some sequences of a batch, trained by one worker; a batch's shares do not depend on the team
 *   member    one of the sequences of a share that step together, with its state
 *   sums      the summed changes of the weights by a share, or by a batch
 *   waiter    what a worker waits on until another worker wakes it
 *
 * A helper may come late to a round or lose its processor: the leader waits until all tasks are done, and never for a
 * worker that has claimed none. A worker without work polls a number for some microseconds, then sleeps until another
 * worker wakes it. */
#ifndef LSTM97_TEAM_H
#define LSTM97_TEAM_H

#include <Python.h>
#include <stdint.h>
#include <time.h>
#ifdef __linux__
#include <sched.h>
#endif

#include "atomics.h"

enum {
    MOST_TASKS = 0xffff,
    SPIN_TIME = 50000, /* nanoseconds for which a worker polls a number before it sleeps */
    CACHE_GAP = 128    /* bytes that keep numbers in different cache lines, and in different pairs of them */
};

typedef struct {
    PyThread_type_lock wake_lock; /* locked, but for the moment after a wake; to sleep is to acquire it */
    int64_t is_asleep;
    char gap[CACHE_GAP];
} Waiter;

typedef struct {
    int64_t round; /* its number << 32 | its tasks << 16 | tasks claimed */
    char gap[CACHE_GAP];
    int64_t n_done; /* tasks of the present round */
    char second_gap[CACHE_GAP];
    int64_t is_over;   /* there will be no further round */
    int64_t n_tasks;   /* of the present round */
    int64_t n_claimed; /* tasks claimed of a round that the leader does alone; -1: the round is for all workers */
    int64_t n_threads;
    Waiter *waiters; /* (n_threads,), the leader's first */
} Team;

/* Tell the processor that this thread is waiting in a loop. */
static inline void spin_pause(void)
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

/* A lock for short sections, 0 when free. The thread that holds it may lose its processor: then the others sleep. */
static inline void spin_lock(int64_t *lock)
{
    const struct timespec nap = {0, 1000};
    for (int i = 1; atomic_exchange64(lock, 1); i++) {
        spin_pause();
        if (i % 1000 == 0) nanosleep(&nap, NULL);
    }
}

static inline void spin_unlock(int64_t *lock) { atomic_store64(lock, 0); }

/* Wake the worker that sleeps on this waiter, if one does. */
static inline void wake(Waiter *waiter)
{
    if (atomic_load64(&waiter->is_asleep) && atomic_exchange64(&waiter->is_asleep, 0))
        PyThread_release_lock(waiter->wake_lock);
}

/* Wait while *number is `value`, until woken or for some microseconds (-1: forever); whether the number changed. */
static inline int wait_while(const int64_t *number, int64_t value, Waiter *waiter, int64_t microseconds)
{
    int is_woken = 0;
    double until = now() + SPIN_TIME;
    do {
        for (int i = 0; i < 50; i++) {
            if (atomic_load64(number) != value) return 1;
            spin_pause();
        }
    } while (now() < until);
    atomic_store64(&waiter->is_asleep, 1);
    if (atomic_load64(number) == value)
        is_woken = PyThread_acquire_lock_timed(waiter->wake_lock, microseconds, 0) == PY_LOCK_ACQUIRED;
    /* If `wake` has already set is_asleep to 0, it has released the lock or is about to: take that release. */
    if (!is_woken && !atomic_exchange64(&waiter->is_asleep, 0)) PyThread_acquire_lock(waiter->wake_lock, WAIT_LOCK);
    return atomic_load64(number) != value;
}

/* Claim a task of the present round for the worker with this waiter; -1 if all are claimed. */
static inline int64_t claim_task(Team *team, const Waiter *waiter)
{
    int64_t round = atomic_load64(&team->round);
    if (waiter == team->waiters && team->n_claimed >= 0)
        return team->n_claimed < team->n_tasks ? team->n_claimed++ : -1;
    while ((round & 0xffff) < (round >> 16 & 0xffff))
        if (atomic_compare_exchange64(&team->round, &round, round + 1)) return round & 0xffff;
    return -1;
}

/* The task that the worker with this waiter claimed is done. */
static inline void end_task(Team *team, const Waiter *waiter)
{
    int64_t n_tasks = team->n_tasks; /* read before the leader may open the next round */
    if (waiter == team->waiters && team->n_claimed >= 0)
        team->n_done++;
    else if (atomic_add64(&team->n_done, 1) == n_tasks && waiter != team->waiters)
        wake(team->waiters);
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

/* Move this thread to the n-th processor it may use after number `from`, then allow it all of them again.
 *
 * Linux may leave a new thread on the processor of the one that started it for some time, while others are idle. */
static inline void move_to_cpu(int n, int from)
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

/* The value of `round` for the next round, without tasks. */
static inline int64_t next_round(Team *team)
{
    return (int64_t) ((((uint64_t) atomic_load64(&team->round) >> 32) + 1) << 32);
}

/* Open a round, for all workers or for the leader alone. */
static inline void open_round(Team *team, int64_t n_tasks, int is_alone)
{
    team->n_done = 0;
    team->n_tasks = n_tasks;
    team->n_claimed = is_alone ? 0 : -1;
    if (is_alone) return;
    atomic_store64(&team->round, next_round(team) | n_tasks << 16);
    for (int64_t i = 1; i < team->n_threads && i < n_tasks; i++) wake(team->waiters + i);
}

/* For the leader: wait until all tasks of the round are done, or for some microseconds; whether they are done. */
static inline int wait_for_tasks(Team *team, int64_t microseconds)
{
    int64_t n_done = atomic_load64(&team->n_done);
    while (n_done < team->n_tasks) {
        if (!wait_while(&team->n_done, n_done, team->waiters, microseconds)) return 0;
        n_done = atomic_load64(&team->n_done);
    }
    return 1;
}

/* For a helper: wait for a round with a task to claim; 0 if there will be none. */
static inline int wait_for_round(Team *team, Waiter *waiter)
{
    for (;;) {
        int64_t round = atomic_load64(&team->round);
        if (atomic_load64(&team->is_over)) return 0;
        if ((round & 0xffff) < (round >> 16 & 0xffff)) return 1;
        wait_while(&team->round, round, waiter, -1);
    }
}

/* End the helpers' waiting: there will be no further round. */
static inline void end_team(Team *team)
{
    atomic_store64(&team->is_over, 1);
    atomic_store64(&team->round, next_round(team));
    for (int64_t i = 1; i < team->n_threads; i++) wake(team->waiters + i);
}

#endif

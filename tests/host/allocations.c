/* Counts a process's calls of glibc's allocator and of mmap. It is preloaded, and replaces their functions. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

_Atomic long taken, given; /* the calls so far that took memory; those that returned some */

static void take(void) { taken++; }
static void give(void) { given++; }

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), *__libc_valloc(size_t), *__libc_pvalloc(size_t);
extern void __libc_free(void *);

void *malloc(size_t size) { return take(), __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return take(), __libc_calloc(n, size); }
void *realloc(void *old, size_t size) { return take(), __libc_realloc(old, size); }
void *reallocarray(void *old, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) return errno = ENOMEM, NULL;
    return realloc(old, total);
}
void *memalign(size_t alignment, size_t size) { return take(), __libc_memalign(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
void *valloc(size_t size) { return take(), __libc_valloc(size); }
void *pvalloc(size_t size) { return take(), __libc_pvalloc(size); }
int posix_memalign(void **place, size_t alignment, size_t size)
{
    void *found = memalign(alignment, size);
    if (!found) return ENOMEM;
    return *place = found, 0;
}
void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset)
{
    return take(), (void *)syscall(SYS_mmap, at, size, protection, flags, file, offset);
}
void *mmap64(void *at, size_t size, int protection, int flags, int file, off64_t offset)
{
    return mmap(at, size, protection, flags, file, offset);
}
void free(void *old)
{
    if (old) give();
    __libc_free(old);
}
int munmap(void *at, size_t size) { return give(), (int)syscall(SYS_munmap, at, size); }

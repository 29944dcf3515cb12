/* Makes the n-th system call on a file of one folder fail. It is preloaded, and replaces the C library's functions. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 1024 };

char folder[4096];        /* the folder's path; if it is empty, no call is counted */
long due;                 /* the number of the call that is to fail, from 1 on */
long n_calls;             /* the calls counted so far */
int error;                /* the errno of the call that fails; 0: `read` and `write` succeed with half of the data */
char failed[16];          /* the name of the call that failed */
static char counts[MOST]; /* for each descriptor, whether its file is in the folder */

static int is_there(const char *path) { return *folder && !strncmp(path, folder, strlen(folder)); }
static int is_open_there(int file) { return *folder && file >= 0 && file < MOST && counts[file]; }

static int fails(const char *call)
{
    if (++n_calls != due) return 0;
    strncpy(failed, call, sizeof failed - 1);
    errno = error;
    return 1;
}

#define NEXT(call) ((__typeof__(&call)) dlsym(RTLD_NEXT, #call))
#define FAILS(call, counted) ((counted) && fails(#call) && error)

static int opened(const char *path, int flags, int mode)
{
    int file;
    if (FAILS(open, is_there(path))) return -1;
    file = openat(AT_FDCWD, path, flags, mode);
    if (file >= 0 && file < MOST) counts[file] = is_there(path);
    return file;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    return opened(path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    return opened(path, flags, mode);
}
ssize_t write(int file, const void *data, size_t size)
{
    if (is_open_there(file) && fails("write")) {
        if (error) return -1;
        size = (size + 1) / 2;
    }
    return NEXT(write)(file, data, size);
}
ssize_t read(int file, void *data, size_t size)
{
    if (is_open_there(file) && fails("read")) {
        if (error) return -1;
        size = (size + 1) / 2;
    }
    return NEXT(read)(file, data, size);
}
int close(int file)
{
    int counted = is_open_there(file), done = NEXT(close)(file);
    if (counted) counts[file] = 0;
    return FAILS(close, counted) ? -1 : done; /* a file is closed even if this fails, as on Linux */
}
/* It does not write to the disk, which would take long and is not tested here. */
int fsync(int file) { return FAILS(fsync, is_open_there(file)) ? -1 : 0; }
int flock(int file, int how) { return FAILS(flock, is_open_there(file)) ? -1 : NEXT(flock)(file, how); }
int fchmod(int file, mode_t mode) { return FAILS(fchmod, is_open_there(file)) ? -1 : NEXT(fchmod)(file, mode); }
int ftruncate64(int file, off64_t size)
{
    return FAILS(ftruncate64, is_open_there(file)) ? -1 : NEXT(ftruncate64)(file, size);
}
int rename(const char *from, const char *to) { return FAILS(rename, is_there(to)) ? -1 : NEXT(rename)(from, to); }
int unlink(const char *path) { return FAILS(unlink, is_there(path)) ? -1 : NEXT(unlink)(path); }
int stat64(const char *path, struct stat64 *status)
{
    return FAILS(stat64, is_there(path)) ? -1 : NEXT(stat64)(path, status);
}
int fstat64(int file, struct stat64 *status)
{
    return FAILS(fstat64, is_open_there(file)) ? -1 : NEXT(fstat64)(file, status);
}

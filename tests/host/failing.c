/* Has the n-th allocation fail, or all from there on, of those of a chosen kind: an extension module for tests.
 *
 * Two kinds: the data of NumPy's arrays, and what the package's compiled modules ask Python for: objects, memory, locks.
 * Nothing else ever fails, since neither NumPy nor CPython survives that everywhere (3.11 crashes where the iterator of
 * a dict's items finds no memory). Which code asks is told by the stack: by the nearest frame that is not of the
 * interpreter's own functions, where the interpreter does not run Python code in between. */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define NPY_TARGET_VERSION NPY_1_22_API_VERSION
#include <Python.h>

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <numpy/arrayobject.h>
#include <string.h>

enum { ARRAYS = 1, MODULES = 2 }; /* kinds, as bits */
enum { OTHERS, INTERPRETER = 4 }; /* whose code else a range has */
enum { MOST_RANGES = 256, DEPTH = 12, OWN_FRAMES = 2 };

static struct {
    uintptr_t begin, end;
    int owner; /* MODULES, INTERPRETER or OTHERS */
} ranges[MOST_RANGES];
static int n_ranges;
static int kinds, is_lasting;     /* which count; whether all that come after one that fails fail too */
static long due, n_asked;         /* which one fails; how many have asked until then */
static __thread int is_looking;   /* at the stack, which may ask for memory too */

static int begins(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

/* Note where a loaded file's code is. */
static int note(struct dl_phdr_info *object, size_t size, void *unused)
{
    const char *name = object->dlpi_name, *file = strrchr(name, '/');
    int owner = OTHERS;
    (void) size, (void) unused;
    file = file ? file + 1 : name;
    if (strstr(name, "/lstm97/"))
        owner = MODULES;
    else if (!*name || begins(file, "libpython") || begins(file, "libc.") || begins(file, "failing."))
        owner = INTERPRETER; /* the program itself has no name */
    for (int i = 0; i < object->dlpi_phnum && n_ranges < MOST_RANGES; i++) {
        const ElfW(Phdr) *part = object->dlpi_phdr + i;
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        ranges[n_ranges].begin = object->dlpi_addr + part->p_vaddr;
        ranges[n_ranges].end = ranges[n_ranges].begin + part->p_memsz;
        ranges[n_ranges++].owner = owner;
    }
    return 0;
}

static int owner_of(void *place)
{
    for (int i = 0; i < n_ranges; i++)
        if ((uintptr_t) place >= ranges[i].begin && (uintptr_t) place < ranges[i].end) return ranges[i].owner;
    return OTHERS;
}

/* Whether the interpreter runs Python code there. */
static int runs_code(void *place)
{
    Dl_info told;
    return dladdr(place, &told) && told.dli_sname && begins(told.dli_sname, "_PyEval_EvalFrame");
}

/* Whether a module of the package asks. */
static int modules_ask(void)
{
    void *frames[DEPTH];
    int n, i = OWN_FRAMES;
    is_looking = 1;
    n = backtrace(frames, DEPTH);
    is_looking = 0;
    while (i < n && owner_of(frames[i]) == INTERPRETER) i++;
    if (i == n || owner_of(frames[i]) != MODULES) return 0;
    while (--i >= OWN_FRAMES)
        if (runs_code(frames[i])) return 0;
    return 1;
}

/* Whether an allocation of this kind is to fail. */
static int fails(int kind)
{
    int is_over = __atomic_load_n(&n_asked, __ATOMIC_SEQ_CST) >= due;
    if (!(kind & kinds) || is_looking || (is_over && !is_lasting)) return 0;
    if (kind == MODULES && !modules_ask()) return 0;
    return is_over || __atomic_add_fetch(&n_asked, 1, __ATOMIC_SEQ_CST) == due;
}

/* ---- what Python asks for ---- */

static PyMemAllocatorEx before[3];

static void *py_malloc(void *to, size_t size)
{
    PyMemAllocatorEx *a = to;
    return fails(MODULES) ? NULL : a->malloc(a->ctx, size);
}
static void *py_calloc(void *to, size_t n, size_t size)
{
    PyMemAllocatorEx *a = to;
    return fails(MODULES) ? NULL : a->calloc(a->ctx, n, size);
}
static void *py_realloc(void *to, void *old, size_t size)
{
    PyMemAllocatorEx *a = to;
    return fails(MODULES) ? NULL : a->realloc(a->ctx, old, size);
}
static void py_free(void *to, void *old)
{
    PyMemAllocatorEx *a = to;
    a->free(a->ctx, old);
}

/* ---- the data of arrays ---- */

static void *data_malloc(void *unused, size_t size) { return (void) unused, fails(ARRAYS) ? NULL : malloc(size); }
static void *data_calloc(void *unused, size_t n, size_t size)
{
    return (void) unused, fails(ARRAYS) ? NULL : calloc(n, size);
}
static void *data_realloc(void *unused, void *old, size_t size)
{
    return (void) unused, fails(ARRAYS) ? NULL : realloc(old, size);
}
static void data_free(void *unused, void *old, size_t size) { (void) unused, (void) size, free(old); }

static PyDataMem_Handler handler = {"failing", 1, {NULL, data_malloc, data_calloc, data_realloc, data_free}};

/* ---- the module ---- */

static PyObject *arm(PyObject *module, PyObject *arguments)
{
    (void) module;
    int new_kinds;
    if (!PyArg_ParseTuple(arguments, "ilp", &new_kinds, &due, &is_lasting)) return NULL;
    n_asked = 0;
    kinds = new_kinds;
    Py_RETURN_NONE;
}

static PyObject *disarm(PyObject *module, PyObject *unused)
{
    (void) module, (void) unused;
    kinds = 0;
    return PyBool_FromLong(n_asked >= due);
}

static PyMethodDef functions[] = {
    {"arm", arm, METH_VARARGS, "arm(kinds, n, lasting): have the n-th of these kinds fail, and those after it if that is lasting."},
    {"disarm", disarm, METH_NOARGS, "From now on none fails; whether the n-th did."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "failing", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit_failing(void)
{
    void *frames[DEPTH];
    PyObject *capsule;
    import_array();
    backtrace(frames, DEPTH); /* the first time it loads a library */
    dl_iterate_phdr(note, NULL);
    if (!(capsule = PyCapsule_New(&handler, "mem_handler", NULL)) || !PyDataMem_SetHandler(capsule)) return NULL;
    for (int domain = 0; domain < 3; domain++) {
        PyMemAllocatorEx own = {before + domain, py_malloc, py_calloc, py_realloc, py_free};
        PyMem_GetAllocator(domain, before + domain);
        PyMem_SetAllocator(domain, &own);
    }
    return PyModule_Create(&definition);
}

/* An extension module for tests: it makes the n-th allocation of a chosen kind fail, or the n-th and all later ones.
 *
 * There are two kinds: the data of NumPy's arrays, and what the package's compiled modules ask Python for (objects,
 * memory, locks). No other allocation fails, since neither NumPy nor CPython survives that everywhere (3.11 crashes
 * where the iterator of a dict's items finds no memory). An allocation belongs to the package's compiled modules if, on
 * the stack, the nearest frame outside the interpreter is in one of them and no frame in between runs Python code. */
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
enum { OTHERS, INTERPRETER = 4 }; /* other owners of a range of code */
enum { MOST_RANGES = 256, DEPTH = 12, OWN_FRAMES = 2 };

static struct {
    uintptr_t begin, end;
    int owner; /* MODULES, INTERPRETER or OTHERS */
} ranges[MOST_RANGES];
static int n_ranges;
static int kinds;               /* the kinds of allocations that are counted, as bits */
static int is_lasting;          /* whether all allocations after the first that fails fail too */
static long due;                /* the number of the allocation that is to fail first, from 1 on */
static long n_asked;            /* the allocations counted so far; once it is `due`, counting ends */
static __thread int is_looking; /* this thread reads its stack: allocations made for that are not counted */

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

static int owner_of(void *address)
{
    for (int i = 0; i < n_ranges; i++)
        if ((uintptr_t) address >= ranges[i].begin && (uintptr_t) address < ranges[i].end) return ranges[i].owner;
    return OTHERS;
}

/* Whether this address is in the function with which the interpreter runs Python code. */
static int runs_code(void *address)
{
    Dl_info symbol;
    return dladdr(address, &symbol) && symbol.dli_sname && begins(symbol.dli_sname, "_PyEval_EvalFrame");
}

/* Whether a compiled module of the package asks for the memory. */
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

/* ---- Python's own allocators ---- */

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
    {"arm", arm, METH_VARARGS,
     "arm(kinds, n, lasting): make the n-th allocation of these kinds fail; if lasting, all later ones too."},
    {"disarm", disarm, METH_NOARGS, "Let no allocation fail from now on; returns whether the n-th one failed."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "failing", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit_failing(void)
{
    void *frames[DEPTH];
    PyObject *capsule;
    import_array();
    backtrace(frames, DEPTH); /* the first call of backtrace loads a library */
    dl_iterate_phdr(note, NULL);
    if (!(capsule = PyCapsule_New(&handler, "mem_handler", NULL)) || !PyDataMem_SetHandler(capsule)) return NULL;
    for (int domain = 0; domain < 3; domain++) {
        PyMemAllocatorEx own = {before + domain, py_malloc, py_calloc, py_realloc, py_free};
        PyMem_GetAllocator(domain, before + domain);
        PyMem_SetAllocator(domain, &own);
    }
    return PyModule_Create(&definition);
}

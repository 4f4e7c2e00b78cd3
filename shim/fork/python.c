/* SPDX-License-Identifier: Apache-2.0 */
#include "fork/python.h"
#include "batch/thread.h"
#include "clock.h"
#include "config/config.h"
#include "futex.h"
#include "log.h"
#include "process.h"
#include "tls.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>

/* Of CPython's headers, which differ from version to version, only what its stable ABI fixes. */
typedef struct _object PyObject;
typedef struct _ts PyThreadState;
typedef struct _is PyInterpreterState;
struct method_def {
    const char *name;
    PyObject *(*call)(PyObject *self, PyObject *args);
    int flags;
    const char *doc;
};
enum { METHOD_NO_ARGUMENTS = 4, EVAL_INPUT = 258 };

/* Names of CPython 3.7 and later; where one has changed, the new one first. */
#define SYMBOLS(X)                                                                                           \
    X(is_initialized, int, (void), "Py_IsInitialized", NULL)                                                 \
    X(is_finalizing, int, (void), "Py_IsFinalizing", "_Py_IsFinalizing")                                     \
    X(before, void, (void), "PyOS_BeforeFork", NULL)                                                         \
    X(after_parent, void, (void), "PyOS_AfterFork_Parent", NULL)                                             \
    X(after_child, void, (void), "PyOS_AfterFork_Child", NULL)                                               \
    X(gil_ensure, int, (void), "PyGILState_Ensure", NULL)                                                    \
    X(gil_release, void, (int), "PyGILState_Release", NULL)                                                  \
    X(own_state, PyThreadState *, (void), "PyGILState_GetThisThreadState", NULL)                             \
    X(current_state, PyThreadState *, (void), "PyThreadState_GetUnchecked", "_PyThreadState_UncheckedGet")   \
    X(first_interpreter, PyInterpreterState *, (void), "PyInterpreterState_Head", NULL)                      \
    X(next_interpreter, PyInterpreterState *, (PyInterpreterState *), "PyInterpreterState_Next", NULL)       \
    X(frame, void *, (void), "PyEval_GetFrame", NULL)                                                        \
    X(error_fetch, void, (PyObject **, PyObject **, PyObject **), "PyErr_Fetch", NULL)                       \
    X(error_restore, void, (PyObject *, PyObject *, PyObject *), "PyErr_Restore", NULL)                      \
    X(error_clear, void, (void), "PyErr_Clear", NULL)                                                        \
    X(import, PyObject *, (const char *), "PyImport_ImportModule", NULL)                                     \
    X(attribute, PyObject *, (PyObject *, const char *), "PyObject_GetAttrString", NULL)                     \
    X(call, PyObject *, (PyObject *, PyObject *, PyObject *), "PyObject_Call", NULL)                         \
    X(is_true, int, (PyObject *), "PyObject_IsTrue", NULL)                                                   \
    X(drop, void, (PyObject *), "Py_DecRef", NULL)                                                           \
    X(tuple, PyObject *, (ssize_t), "PyTuple_New", NULL)                                                     \
    X(dict, PyObject *, (void), "PyDict_New", NULL)                                                          \
    X(dict_set, int, (PyObject *, const char *, PyObject *), "PyDict_SetItemString", NULL)                   \
    X(function, PyObject *, (struct method_def *, PyObject *, PyObject *), "PyCFunction_NewEx", NULL)        \
    X(builtins, PyObject *, (void), "PyEval_GetBuiltins", NULL)                                              \
    X(evaluate, PyObject *, (const char *, int, PyObject *, PyObject *), "PyRun_String", NULL)

static struct {
#define FIELD(field, result, arguments, name, old) result(*field) arguments;
    SYMBOLS(FIELD)
#undef FIELD
} py;

static _Atomic bool found; /* all of `py` */
static uintptr_t main_begin, main_end;

/* What was learnt from the interpreter, with the GIL held. */
static bool asked;
static bool registered; /* our hooks tell who else runs them */
static bool foreign;    /* uWSGI was told to run them by itself */

/* The probe of a GIL that may never come; one at a time. */
enum { PROBE_NONE, PROBE_WAITS, PROBE_CAME };
static _Atomic uint32_t probe;
static pthread_t probe_id;

static void find_main(void)
{
    const ElfW(Phdr) *h = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    size_t n = getauxval(AT_PHNUM);
    uintptr_t bias = 0, begin = UINTPTR_MAX, end = 0;
    for (size_t i = 0; i < n; i++)
        if (h[i].p_type == PT_PHDR)
            bias = (uintptr_t)h - h[i].p_vaddr;
    for (size_t i = 0; i < n; i++) {
        if (h[i].p_type != PT_LOAD)
            continue;
        if (bias + h[i].p_vaddr < begin)
            begin = bias + h[i].p_vaddr;
        if (bias + h[i].p_vaddr + h[i].p_memsz > end)
            end = bias + h[i].p_vaddr + h[i].p_memsz;
    }
    main_begin = begin;
    main_end = end;
}

static void *look(const char *name, const char *old)
{
    void *p = dlsym(RTLD_DEFAULT, name);
    return p || !old ? p : dlsym(RTLD_DEFAULT, old);
}

void python_look(void)
{
    if (atomic_load(&found) || !dlsym(RTLD_DEFAULT, "Py_IsInitialized"))
        return;
#define LOOK(field, result, arguments, name, old)                                                            \
    if (!(py.field = (result(*) arguments)look(name, old)))                                                  \
        return; /* before 3.7 there are no hooks to run */
    SYMBOLS(LOOK)
#undef LOOK
    find_main();
    atomic_store(&found, true);
}

/* ------------------------------------------------------------------ whose fork is it */

static bool caller_counts(const void *caller, const struct config *config)
{
    if ((uintptr_t)caller >= main_begin && (uintptr_t)caller < main_end)
        return true;
    if (!config->python_fork_objects)
        return false;
    Dl_info info;
    if (!dladdr(caller, &info) || !info.dli_fname)
        return false;
    const char *slash = strrchr(info.dli_fname, '/'), *file = slash ? slash + 1 : info.dli_fname;
    for (const char **name = config->python_fork_objects; *name; name++)
        if (strcmp(*name, file) == 0)
            return true;
    return false;
}

/* After a fork CPython ends every interpreter of the child but the main one: a server that serves from
 * several loses more by the hooks than without. */
static bool one_interpreter(void)
{
    PyInterpreterState *first = py.first_interpreter();
    return first && !py.next_interpreter(first);
}

/* ------------------------------------------------------------------ the GIL */

static void *probe_thread(void *arg)
{
    (void)arg;
    tls.own = true;
    py.gil_release(py.gil_ensure());
    atomic_store(&probe, PROBE_CAME);
    futex_wake_all(&probe);
    return NULL;
}

static bool probe_start(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&probe_id, NULL, probe_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

/* CPython has no timed acquire: a thread of ours tries first, where another could hold the GIL for ever. */
static bool gil_comes(uint32_t wait_ms)
{
    uint32_t was = PROBE_CAME;
    if (atomic_compare_exchange_strong(&probe, &was, PROBE_NONE))
        pthread_join(probe_id, NULL); /* one that had not come in time, and has since */
    was = PROBE_NONE;
    if (!atomic_compare_exchange_strong(&probe, &was, PROBE_WAITS))
        return false; /* no second one while the first still waits */
    if (!probe_start()) {
        atomic_store(&probe, PROBE_NONE);
        return false;
    }
    uint64_t until = clock_ns(CLOCK_MONOTONIC) + (uint64_t)wait_ms * 1000000u;
    for (uint64_t now; atomic_load(&probe) != PROBE_CAME; futex_wait(&probe, PROBE_WAITS, until - now))
        if ((now = clock_ns(CLOCK_MONOTONIC)) >= until)
            return false;
    pthread_join(probe_id, NULL);
    atomic_store(&probe, PROBE_NONE);
    return true;
}

/* ------------------------------------------------------------------ with the GIL held */

static PyObject *told_before(PyObject *self, PyObject *args)
{
    (void)self;
    (void)args;
    tls.python_hooks = true;
    return py.tuple(0); /* any object will do */
}

static PyObject *told_after(PyObject *self, PyObject *args)
{
    (void)self;
    (void)args;
    tls.python_hooks = false;
    return py.tuple(0);
}

static bool say(const char *expression)
{
    PyObject *globals = py.dict();
    bool yes = false;
    if (globals && py.dict_set(globals, "__builtins__", py.builtins()) == 0) {
        PyObject *value = py.evaluate(expression, EVAL_INPUT, globals, globals);
        yes = value && py.is_true(value) == 1;
        if (value)
            py.drop(value);
    }
    if (globals)
        py.drop(globals);
    py.error_clear();
    return yes;
}

static void register_ours(void)
{
    static struct method_def before = {"forkspan_before", told_before, METHOD_NO_ARGUMENTS, NULL},
                             after = {"forkspan_after", told_after, METHOD_NO_ARGUMENTS, NULL};
    PyObject *os = py.import("os"), *function = os ? py.attribute(os, "register_at_fork") : NULL;
    PyObject *none = py.tuple(0), *named = py.dict();
    PyObject *b = py.function(&before, NULL, NULL), *a = py.function(&after, NULL, NULL);
    if (function && none && named && a && b && py.dict_set(named, "before", b) == 0 &&
        py.dict_set(named, "after_in_parent", a) == 0 && py.dict_set(named, "after_in_child", a) == 0) {
        PyObject *result = py.call(function, none, named);
        registered = result != NULL;
        if (result)
            py.drop(result);
    }
    enum { USED = 6 };
    PyObject *used[USED] = {os, function, none, named, a, b};
    for (size_t i = 0; i < USED; i++)
        if (used[i])
            py.drop(used[i]);
    py.error_clear();
}

/* Once: who else runs the hooks here? uWSGI has options of its own, and a worker written in Python
 * (--worker-exec and its kind) ends its fork itself. */
static void ask(void)
{
    static const char uwsgi[] =
        "any((k.decode('latin-1') if isinstance(k, bytes) else k) in ('py-call-osafterfork',"
        " 'py-call-uwsgi-fork-hooks', 'python-worker-override', 'py-worker-override')"
        " for k in getattr(__import__('sys').modules.get('uwsgi'), 'opt', ()))";
    asked = true;
    foreign = say(uwsgi);
    if (foreign)
        log_info("uWSGI runs Python's fork hooks by an option of its own: forkspan does not");
    register_ours();
    if (!registered)
        log_warn("os.register_at_fork can not be called: Python's fork hooks are not run");
}

static bool may_hook(void)
{
    /* Python code is on the stack: os.fork() has run the hooks, and who forks otherwise (subprocess, uvloop)
     * knows what its child may do. */
    if (py.frame())
        return false;
    bool first = !asked;
    if (first)
        ask();
    /* Ours could not be told of a PyOS_BeforeFork that ran before they were there; that holds the import
     * lock. */
    bool ran = tls.python_hooks || (first && say("__import__('_imp').lock_held()"));
    return registered && !foreign && !ran;
}

/* Gives back what was taken for the hooks. */
static void let_go(const struct python_fork *f)
{
    py.error_restore(f->error[0], f->error[1], f->error[2]);
    if (f->gil)
        py.gil_release(f->state);
}

void python_before_fork(struct python_fork *f, const void *caller)
{
    *f = (struct python_fork){.hooked = false};
    if (__builtin_expect(!atomic_load_explicit(&found, memory_order_acquire), 1))
        return;
    const struct config *config = config_parsed();
    if (!config || !config->python_fork_hooks || foreign || tls.python_hooks || !py.is_initialized() ||
        py.is_finalizing() || !caller_counts(caller, config))
        return;
    PyThreadState *own = py.own_state(), *current = py.current_state();
    bool held = current && current == own, threads = !held && thread_others();
    if (!one_interpreter() || (!held && current && !threads)) {
        process_count(COUNT_FORK_UNHOOKED, 1);
        log_warn("several Python interpreters here: Python's fork hooks are not run");
        return;
    }
    if (threads && !gil_comes(config->fork_wait_ms)) {
        process_count(COUNT_FORK_UNHOOKED, 1);
        log_warn("a fork went on without Python's fork hooks: the GIL did not come within %u ms",
                 config->fork_wait_ms);
        return;
    }
    if (!held) {
        f->state = py.gil_ensure();
        f->gil = true;
    }
    py.error_fetch((PyObject **)&f->error[0], (PyObject **)&f->error[1], (PyObject **)&f->error[2]);
    f->hooked = may_hook();
    if (f->hooked)
        py.before();
    else
        let_go(f);
}

void python_after_fork_parent(const struct python_fork *f)
{
    if (!f->hooked)
        return;
    py.after_parent();
    tls.python_hooks = false;
    let_go(f);
}

void python_after_fork_child(const struct python_fork *f)
{
    atomic_store(&probe, PROBE_NONE); /* a thread that probed is not here */
    if (!f->hooked)
        return;
    py.after_child();
    tls.python_hooks = false;
    let_go(f);
}

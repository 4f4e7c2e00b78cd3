/* SPDX-License-Identifier: Apache-2.0
 * embed.c CASE - a program that hosts CPython and forks in C, as a server does. Prints how often the hooks
 * that its Python code registered ran in the parent, and in the child, as "before parent child | before
 * parent child".
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "forkspan.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BEFORE, PARENT, CHILD, HOOKS };
static int *shared; /* what the child counted, for its parent to print */
static int counted[HOOKS];

static PyObject *count(PyObject *self, PyObject *args)
{
    int which;
    (void)self;
    if (!PyArg_ParseTuple(args, "i", &which))
        return NULL;
    counted[which]++;
    Py_RETURN_NONE;
}

static volatile int threads_made;

/* Exported: forkspan's library calls this one, too. */
__attribute__((visibility("default"))) int pthread_create(pthread_t *id, const pthread_attr_t *attributes,
                                                          void *(*run)(void *), void *arg)
{
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
    threads_made++;
    return next(id, attributes, run, arg);
}

enum { HOG_MS = 3000 };
static volatile int hogging; /* 1: the GIL is held, 2: it was */

/* What a C extension with a bug does. */
static void *hog(void *arg)
{
    PyGILState_STATE state = PyGILState_Ensure();
    hogging = 1;
    for (struct timespec t = {HOG_MS / 1000, 0}; nanosleep(&t, &t) != 0;)
        ;
    hogging = 2;
    PyGILState_Release(state);
    return arg;
}

static PyMethodDef methods[] = {{"count", count, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "host", NULL, -1, methods, NULL, NULL, NULL, NULL};

static PyObject *make(void)
{
    return PyModule_Create(&module);
}

static void child_ends(void)
{
    memcpy(shared, counted, sizeof counted);
    _exit(0);
}

static int ended(pid_t pid)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "the child ended with %#x\n", pid < 0 ? -1 : status);
        return 1;
    }
    return 0;
}

static int fork_here(void)
{
    pid_t pid = fork();
    if (pid == 0)
        child_ends();
    return ended(pid);
}

static void *fork_in_thread(void *arg)
{
    *(int *)arg = fork_here();
    return NULL;
}

static int in_subinterpreter(void)
{
    PyThreadState *first = PyThreadState_Get(), *sub = Py_NewInterpreter();
    int failed = fork_here();
    Py_EndInterpreter(sub);
    PyThreadState_Swap(first);
    return failed;
}

static int beside_subinterpreter(void)
{
    PyThreadState *first = PyThreadState_Get(), *sub = Py_NewInterpreter();
    PyThreadState_Swap(first);
    pid_t pid = fork();
    if (pid == 0) { /* the other interpreter is still there to serve from */
        PyThreadState_Swap(sub);
        if (PyRun_SimpleString("import json; json.dumps({})") != 0)
            _exit(1);
        child_ends();
    }
    int failed = ended(pid);
    PyThreadState_Swap(sub);
    Py_EndInterpreter(sub);
    PyThreadState_Swap(first);
    return failed;
}

static int from_thread(void)
{
    int failed = 1;
    pthread_t id;
    PyThreadState *state = PyEval_SaveThread();
    pthread_create(&id, NULL, fork_in_thread, &failed);
    pthread_join(id, NULL);
    PyEval_RestoreThread(state);
    return failed;
}

static int released(void)
{
    PyThreadState *state = PyEval_SaveThread();
    int failed = fork_here();
    PyEval_RestoreThread(state);
    return failed;
}

/* forkspan's own thread is there; who forks without the GIL needs no probe of it. */
static int served(int threads_wanted)
{
    struct forkspan_span *span = forkspan_start("in the parent", FORKSPAN_INTERNAL, NULL);
    forkspan_end(span);
    forkspan_flush(10000);
    int before = threads_made, failed = released();
    if (span && threads_made - before != threads_wanted) {
        fprintf(stderr, "%d threads made for a fork, not %d\n", threads_made - before, threads_wanted);
        return 1;
    }
    return failed;
}

static void *asleep(void *arg)
{
    pause();
    return arg;
}

static int served_with_threads(void)
{
    pthread_t id;
    return pthread_create(&id, NULL, asleep, NULL) | served(1);
}

static long elapsed_ms(struct timespec since)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since.tv_sec) * 1000 + (now.tv_nsec - since.tv_nsec) / 1000000;
}

/* Three forks: the GIL does not come for the first (a wait), nor for the second (no wait any more), and is
 * there again for the third. */
static int hogged(void)
{
    PyThreadState *state = PyEval_SaveThread();
    pthread_t id;
    pthread_create(&id, NULL, hog, NULL);
    while (hogging != 1)
        usleep(1000);
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int failed = fork_here();
    long first = elapsed_ms(begin);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    failed |= fork_here();
    long second = elapsed_ms(begin);
    bool in_time = hogging == 1;
    pthread_join(id, NULL);
    /* Whoever asked for the GIL on behalf of the first fork has it now, and is gone: nobody asks a second
     * time before. */
    struct stat tasks;
    for (int ms = 0; ms < 20000 && stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink > 3; ms++)
        usleep(1000);
    PyEval_RestoreThread(state);
    if (counted[BEFORE] || !in_time || first < 150 || second > 100) {
        fprintf(stderr, "hooks %d, in time %d, first fork %ld ms, second %ld ms\n", counted[BEFORE], in_time,
                first, second);
        return 1;
    }
    return failed | released();
}

static int finalising;

static void at_end(void)
{
    finalising = fork_here();
}

static int refused(void)
{
    struct rlimit none = {0, 0};
    if (setuid(65534) != 0 || setrlimit(RLIMIT_NPROC, &none) != 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid != -1 || errno != EAGAIN;
}

static int run(const char *name)
{
    if (strcmp(name, "held") == 0)
        return fork_here();
    if (strcmp(name, "twice") == 0)
        return fork_here() + fork_here() != 0;
    if (strcmp(name, "released") == 0)
        return released();
    if (strcmp(name, "thread") == 0)
        return from_thread();
    if (strcmp(name, "served") == 0)
        return served(0);
    if (strcmp(name, "served-threads") == 0)
        return served_with_threads();
    if (strcmp(name, "in-subinterpreter") == 0)
        return in_subinterpreter();
    if (strcmp(name, "beside-subinterpreter") == 0)
        return beside_subinterpreter();
    if (strcmp(name, "hogged") == 0)
        return hogged();
    if (strcmp(name, "refused") == 0)
        return refused();
    if (strcmp(name, "error-set") == 0) {
        PyErr_SetString(PyExc_KeyError, "kept");
        int failed = fork_here() | !PyErr_ExceptionMatches(PyExc_KeyError);
        PyErr_Clear();
        return failed;
    }
    if (strcmp(name, "os.fork") == 0)
        return PyRun_SimpleString(
            "import os\np = os.fork()\nif p == 0: host.ends()\nassert os.waitpid(p, 0)[1] == 0");
    if (strcmp(name, "subprocess") == 0) /* with a user id: by fork, not by vfork, which 3.8 has not */
        return PyRun_SimpleString("import subprocess, sys\n"
                                  "how = {'user': 0} if sys.version_info >= (3, 9) else {}\n"
                                  "assert subprocess.call(['true'], close_fds=True, **how) == 0");
    if (strcmp(name, "finalising") == 0) {
        Py_AtExit(at_end);
        return Py_FinalizeEx() | finalising;
    }
    return 2;
}

static PyObject *ends(PyObject *self, PyObject *none)
{
    (void)self;
    (void)none;
    child_ends();
    return NULL;
}

int main(int argc, char **argv)
{
    static PyMethodDef last = {"ends", ends, METH_NOARGS, NULL};
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc != 2 || shared == MAP_FAILED || bind(fd, (struct sockaddr *)&any, sizeof any) != 0 ||
        listen(fd, 1) != 0)
        return 2;
    PyImport_AppendInittab("host", make);
    Py_Initialize();
    PyRun_SimpleString(
        "import os, host\n"
        "os.register_at_fork(before=lambda: host.count(0), after_in_parent=lambda: host.count(1),"
        " after_in_child=lambda: host.count(2))");
    PyObject *host = PyImport_ImportModule("host");
    PyModule_AddObject(host, "ends", PyCFunction_New(&last, NULL));
    int failed = run(argv[1]);
    printf("%d %d %d | %d %d %d\n", counted[BEFORE], counted[PARENT], counted[CHILD], shared[BEFORE],
           shared[PARENT], shared[CHILD]);
    return failed;
}

/* Ctrl-C in the midst of a kernel. Python runs the handlers of signals between its own instructions, so that a kernel of
   some seconds would hold them up. A long one asks for them itself, a few times a second. */

#ifndef FASTML_INTERRUPT_H
#define FASTML_INTERRUPT_H

#include <Python.h>
#include <math.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#else
#define omp_get_thread_num() 0
#endif

#define SECONDS_BETWEEN 0.1

typedef struct {
    int stopped;
    double next; /* when to ask again; at first never */
    PyObject *type, *value, *traceback; /* what a handler raised */
} Watch;

static inline Watch start_watch(void) {
    Watch watch = {0, 0, NULL, NULL, NULL};
    return watch;
}

/* A call in place runs to its end: left in its midst, neither the old array nor the new one would be there. */
static inline Watch start_watch_unless(int in_place) {
    Watch watch = start_watch();
    if (in_place) watch.next = INFINITY;
    return watch;
}

static inline double watch_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static void answer_signals(Watch *watch) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *module = PyImport_AddModule("fastml._core.baseline._system"); /* which is there since the import */
    PyObject *result = module ? PyObject_CallMethod(module, "answer_signals", NULL) : NULL;
    if (!result) {
        PyErr_Fetch(&watch->type, &watch->value, &watch->traceback);
        __atomic_store_n(&watch->stopped, 1, __ATOMIC_RELAXED);
    }
    Py_XDECREF(result);
    PyGILState_Release(state);
}

/* Whether to leave the rest undone: asked before each task, by the thread that does it. Only the thread that called the
   kernel asks Python, without which it holds nobody up. */
static inline int interrupted(Watch *watch) {
    if (omp_get_thread_num() == 0) {
        double now = watch_seconds();
        if (now > watch->next && !watch->stopped) {
            if (watch->next) answer_signals(watch);
            watch->next = watch_seconds() + SECONDS_BETWEEN;
        }
    }
    return __atomic_load_n(&watch->stopped, __ATOMIC_RELAXED);
}

/* The same where a task may be so short that a look at the clock would count: a look in about 64 Ki of the values that
   tasks work on, so many each. */
static inline int interrupted_at(Watch *watch, ptrdiff_t task, ptrdiff_t values) {
    if ((task * values) >> 16 == ((task + 1) * values) >> 16) return __atomic_load_n(&watch->stopped, __ATOMIC_RELAXED);
    return interrupted(watch);
}

/* With the GIL, when all threads are done: raise what a handler raised. */
static inline int end_watch(Watch *watch) {
    if (watch->stopped) PyErr_Restore(watch->type, watch->value, watch->traceback);
    return -watch->stopped;
}

#endif

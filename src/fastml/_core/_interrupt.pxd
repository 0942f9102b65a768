# How a long kernel lets Ctrl-C end it: `start_watch` at first, `interrupted` before each task, `end_watch` at last.
# Short tasks ask by `interrupted_at`.
cdef extern from "interrupt.h" nogil:
    ctypedef struct Watch:
        pass
    Watch start_watch()
    Watch start_watch_unless(bint in_place)
    bint interrupted(Watch* watch) noexcept
    bint interrupted_at(Watch* watch, Py_ssize_t task, Py_ssize_t values) noexcept


cdef extern from "interrupt.h":
    int end_watch(Watch* watch) except -1

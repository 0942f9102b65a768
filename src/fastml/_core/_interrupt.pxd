# How a long kernel lets Ctrl-C end it: `start_watch` at first, `interrupted` before each task, `end_watch` at last.
cdef extern from "interrupt.h" nogil:
    ctypedef struct Watch:
        pass
    Watch start_watch()
    bint interrupted(Watch* watch) noexcept


cdef extern from "interrupt.h":
    int end_watch(Watch* watch) except -1

"""Ladders that are no operation's, or stand beside one, in NumPy and Numba alone: read them, change them, run them.

A module has

* `STEPS`, functions in the order of the ladder, all with the same arguments; the first line of each one's docstring is
  the one idea that changed;
* `CASES`, from a name to a function that makes the arguments; the first is the one that is shown;
* `expected(*arguments)`, the right answer, in float64;
* `work(*arguments)`, bytes that must be read, bytes that must be written, and flops, at the least;
* if need be `FAILS`, from the name of a step that is there to be wrong to the reason, and `SKIP`, from a (step, case)
  that is not run to the reason.

`pca` has `STEPS` alone: its cases are those of the operation.
"""

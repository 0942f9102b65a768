"""For those who measure and learn; `import fastml` does not load it.

    roofline, machine        what this machine can do at best, and what it is
    cases, harness, peers/   the problems, who runs them, and whom fastml is compared with
    timing, versus, ladder   times in alternating blocks: of two, and of all rungs of an operation
    counters                 counts of instructions and misses, by `hardware`, or `cachegrind` and its half `counted`
    assembly                 the hot loop of a compiled kernel
    report, page, plot       results as a table, as a page, as a picture
    exercises/               tasks, starters, solutions; `exercise` says what the grader asks of each
    grader, judge, checking  the grader, its half that runs a student's code, and the question whether that is right
    native                   a student's function from a file in Python, C or Cython
    cli/                     the command `fastml`
"""

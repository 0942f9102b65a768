"""Times that can be compared: in blocks, in alternating order, and what can be said of their ratio.

A machine is disturbed: by other programs, by its own clock, by the threads of another library. Neighbouring blocks are
disturbed alike, so that their ratio says more than two times do; the median of several says more than one; and the
interval around it says whether it says enough.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

CONFIDENCE = 0.95


def best(calls: Sequence[Callable[[], Any]], seconds: float) -> float:
    """Seconds of the fastest call in a block that takes at least `seconds`; the calls take turns.

    The fastest, as what interrupts a call can only make it longer. Each is called once before, which is not timed.

    >>> 0 < best([lambda: sum(range(1000))], 0.001) < 0.001
    True
    """
    for call in calls:
        call()
    least, end = math.inf, perf_counter() + seconds
    while perf_counter() < end:
        for call in calls:
            start = perf_counter()
            call()
            least = min(least, perf_counter() - start)
    return least


def alternate(blocks: Sequence[Callable[[], float]], rounds: int, first: int = 0) -> list[tuple[float, ...]]:
    """What each block measures in each round; every second round runs them from the last to the first.

    `first` is the number of the first round, to go on where another call has ended.

    >>> order = []
    >>> alternate([lambda: order.append("a") or 1.0, lambda: order.append("b") or 2.0], 2)
    [(1.0, 2.0), (1.0, 2.0)]
    >>> order
    ['a', 'b', 'b', 'a']
    """
    times = []
    for i in range(first, first + rounds):
        ordered = blocks[::-1] if i % 2 else blocks
        measured = [block() for block in ordered]
        times.append(tuple(measured[::-1] if i % 2 else measured))
    return times


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The median, and the ends of an interval that holds the true one as surely as `confidence` says.

    The ends are two of the values, as far from the ends of the list as the binomial distribution allows (the sign test
    turned around): nothing is assumed of how the values are distributed. Of too few values, from -inf to inf.

    Raises ValueError for no values.

    >>> interval([1.0, 1.1, 0.9, 1.0, 5.0, 1.0, 1.2, 0.8])
    (1.0, 0.8, 5.0)
    >>> interval([1.0])
    (1.0, -inf, inf)
    """
    if not values:
        raise ValueError("values must not be empty")
    n, ordered = len(values), sorted(values)
    below, outside = 0, 2 * 0.5**n  # how many values to leave out at each end; the chance that the median is out there
    while outside <= 1 - confidence:
        below += 1
        outside += 2 * math.comb(n, below) * 0.5**n
    low, high = (ordered[below - 1], ordered[n - below]) if below else (-math.inf, math.inf)
    return statistics.median(ordered), low, high

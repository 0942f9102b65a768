"""Bytes read as a stream of choices. Where they have run out, the first of all options is taken: the most ordinary."""

from collections.abc import Sequence
from typing import Any


class Choices:
    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)

    def integer(self, least: int, most: int) -> int:
        """One byte, and so up to 256 different ones."""
        return least + next(self._bytes, 0) % (most - least + 1)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def chance(self, one_in: int) -> bool:
        return self.integer(1, one_in) == one_in

    def maybe(self, usual: Any, others: Sequence[Any], one_in: int = 3) -> Any:
        """The usual, or one time in so many one of the others."""
        return self.pick(others) if self.chance(one_in) else usual

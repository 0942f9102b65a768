from typing import Any

from numpy.typing import NDArray

def copy(source: NDArray[Any], to: NDArray[Any], n_threads: int) -> None: ...

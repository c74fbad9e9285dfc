"""Which epoch of a run is kept, and whether there is a reason to go on: `Judged`."""

from typing import Optional

import numpy as np


class Judged:
    """What validation says of the epochs in a history, to which more may be added.

    validation : the name of its numbers there, None without any
    """

    def __init__(
        self, history: dict[str, list[float]], validation: Optional[str], mode: str, patience: Optional[int], ties: str
    ) -> None:
        self._history, self._validation, self._patience, self._ties = history, validation, patience, ties
        self._sign = 1 if mode == "min" else -1

    @property
    def best(self) -> Optional[int]:
        """The epoch that is kept: of the best number, where NaN is the worst; the last one without validation; None
        without epochs."""
        done = len(self._history["loss"])
        if self._validation is None or not done:
            return done - 1 if done else None
        losses = self._losses()
        return int(np.argmin(losses)) if self._ties == "first" else done - 1 - int(np.argmin(losses[::-1]))

    @property
    def over(self) -> bool:
        """Whether the last `patience` epochs were no better than one before them."""
        done = len(self._history["loss"])
        return self._patience is not None and done > 0 and done - 1 - int(np.argmin(self._losses())) >= self._patience

    def _losses(self):
        losses = self._sign * np.array(self._history[self._validation])
        return np.where(np.isnan(losses), np.inf, losses)

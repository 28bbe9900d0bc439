"""Python's garbage collector, kept out of episodes.

A full collection of 600 000 objects takes 60 to 150 ms. What lives at the start of a session is therefore frozen (a
collection then looks only at what came later), nothing is collected while frames are recorded, and the collection
that was put off is made between two episodes.
"""

from __future__ import annotations

import gc

# The interpreter itself freezes some hundred objects when it starts; more were frozen by whoever called us.
_INTERPRETERS_OWN = 10_000


class Garbage:
    """Call `open` first and `close` last; afterwards the collector is as it was found."""

    def __init__(self) -> None:
        self._was_enabled = gc.isenabled()
        self._froze = False

    def open(self) -> None:
        """Collect and freeze, unless the caller has frozen objects of his own, which thawing ours would thaw too."""
        if gc.get_freeze_count() < _INTERPRETERS_OWN:
            gc.collect()
            gc.freeze()
            self._froze = True

    def collect(self) -> None:
        """Between episodes. A caller who has disabled the collector does not want it."""
        if self._was_enabled:
            gc.collect()

    def pause(self) -> None:
        gc.disable()

    def resume(self) -> None:
        if self._was_enabled:
            gc.enable()

    def close(self) -> None:
        self.resume()
        if self._froze:
            gc.unfreeze()
            self._froze = False

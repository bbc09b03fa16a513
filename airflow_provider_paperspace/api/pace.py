"""How fast many requests may go together: without limit, until the service answers 429.

The limits of the service are not published. So the requests of one client share what they learn: the first 429 stops
them all for as long as the service asks, and after that they set out one by one, a little slower than what went
through before. From there the pace creeps up again, half a percent a second, and gives way by a tenth at the next 429.

Pure: every instant is handed in, in seconds of the runner's monotonic clock.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

log = logging.getLogger(__name__)

GIVE_WAY: Final = 0.9
GROWTH_PER_S: Final = 0.005
SLOWEST_PER_S: Final = 0.5
_MEASURED_OVER_S: Final = 1.0


class Pace:
    """The pace of one client's requests."""

    def __init__(self) -> None:
        self.rate_per_s: float | None = None
        """Requests a second at most; None for as many as there are."""
        self.episode = 0
        """How often the service has called for a stop. A turn that was given before the last one is void."""
        self._next_turn_s = 0.0
        self._stopped_at_s = float("-inf")
        self._resume_s = float("-inf")
        self._grown_at_s = 0.0
        self._went_well: deque[float] = deque()

    def turn_s(self, now_s: float) -> float:
        """Give the instant at which one more request may set out; it is taken then."""
        turn = max(now_s, self._next_turn_s, self._resume_s)
        if self.rate_per_s is not None:
            self._next_turn_s = turn + 1 / self.rate_per_s
        return turn

    def went_well(self, now_s: float) -> None:
        """Count a request that was not refused."""
        self._went_well.append(now_s)
        self._forget_before(now_s - _MEASURED_OVER_S)
        if self.rate_per_s is not None and now_s > self._resume_s:
            grown_since = max(self._grown_at_s, self._resume_s)
            self.rate_per_s *= 1 + GROWTH_PER_S * max(0.0, now_s - grown_since)
            self._grown_at_s = now_s

    def refused(self, now_s: float, *, sent_at_s: float, pause_s: float) -> None:
        """Stop all requests for so many seconds, and go slower after that.

        :param sent_at_s: when the refused request set out. Those that were on their way when the first was refused
            only prolong the stop.
        """
        resumed_s, is_longer = self._resume_s, now_s + pause_s > self._resume_s
        self._resume_s = max(self._resume_s, now_s + pause_s)
        if sent_at_s <= self._stopped_at_s:
            if is_longer:  # those who wait for a turn wait on
                self._next_turn_s = self._resume_s
                self.episode += 1
            return
        self.rate_per_s = self._slower(now_s, resumed_s)
        self._stopped_at_s = self._grown_at_s = now_s
        self._next_turn_s = self._resume_s
        self.episode += 1
        log.info(
            "Paperspace answers 429, too many requests: all requests wait %.1f s, then %.3g a second set out",
            *(pause_s, self.rate_per_s),
        )

    def _slower(self, now_s: float, resumed_s: float) -> float:
        self._forget_before(now_s - _MEASURED_OVER_S)
        measured = len(self._went_well) / _MEASURED_OVER_S
        if self.rate_per_s is None:
            rate = measured
        elif now_s - resumed_s < _MEASURED_OVER_S:
            rate = self.rate_per_s  # too soon after the last stop to have measured anything
        else:
            rate = min(self.rate_per_s, measured)
        return max(SLOWEST_PER_S, GIVE_WAY * rate)

    def _forget_before(self, since_s: float) -> None:
        while self._went_well and self._went_well[0] < since_s:
            self._went_well.popleft()

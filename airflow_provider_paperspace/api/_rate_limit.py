"""How fast the requests of one asynchronous client may start: there is no limit until the service answers 429.

The service's limits are not published, so the requests of one client share what they learn. The first 429 pauses all
of them for its ``Retry-After``, or else for a backoff. After that they start one at a time, a little slower than the
rate that worked before. From there the rate grows by half a percent per second, and drops by a tenth or more at the
next 429.

A 429 whose ``Retry-After`` is longer than a client waits is raised at once and pauses nothing. What becomes of the
other requests is for the caller to decide: a batch starts no more projects, and deferred waits poll again only when
that time is over.

No I/O and no clock here: every instant is an argument, in seconds of the client's monotonic clock.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

log = logging.getLogger(__name__)

DECREASE: Final = 0.9
GROWTH_PER_S: Final = 0.005
MIN_RATE_PER_S: Final = 0.5
_MEASURED_OVER_S: Final = 1.0


class RateLimiter:
    """The rate limit that the requests of one client share."""

    def __init__(self) -> None:
        self.rate_per_s: float | None = None
        """Maximum number of requests per second; None for no limit."""
        self.pauses = 0
        """Number of times that a pause began or was extended. Starts reserved before that no longer count."""
        self._next_start_s = float("-inf")
        self._paused_at_s = float("-inf")
        self._resume_s = float("-inf")
        self._grown_at_s = 0.0
        self._succeeded_at_s: deque[float] = deque()

    def reserve_start(self, now_s: float) -> float:
        """Reserve the start of one more request; return the instant at which it may start."""
        start_s = max(now_s, self._next_start_s, self._resume_s)
        if self.rate_per_s is not None:
            self._next_start_s = start_s + 1 / self.rate_per_s
        return start_s

    def record_success(self, now_s: float) -> None:
        """Count a request that was not answered with 429."""
        self._succeeded_at_s.append(now_s)
        self._forget_before(now_s - _MEASURED_OVER_S)
        if self.rate_per_s is not None and now_s > self._resume_s:
            grown_since = max(self._grown_at_s, self._resume_s)
            self.rate_per_s *= 1 + GROWTH_PER_S * max(0.0, now_s - grown_since)
            self._grown_at_s = now_s

    def record_429(self, now_s: float, *, sent_at_s: float, pause_s: float) -> None:
        """Pause all requests, then continue more slowly.

        :param sent_at_s: when the request that was answered with 429 started. If it was already in flight when the
            current pause began, it can only extend that pause.
        """
        resumed_s, is_longer = self._resume_s, now_s + pause_s > self._resume_s
        self._resume_s = max(self._resume_s, now_s + pause_s)
        if sent_at_s <= self._paused_at_s:
            if is_longer:  # requests that wait for their start keep waiting
                self._next_start_s = self._resume_s
                self.pauses += 1
            return
        self.rate_per_s = self._slower_rate(now_s, resumed_s)
        self._paused_at_s = self._grown_at_s = now_s
        self._next_start_s = self._resume_s
        self.pauses += 1
        log.info(
            "Paperspace answered 429. Pausing all requests for %.1f s, then continuing at %.3g requests/s",
            pause_s,
            self.rate_per_s,
        )

    def _slower_rate(self, now_s: float, resumed_s: float) -> float:
        self._forget_before(now_s - _MEASURED_OVER_S)
        measured = len(self._succeeded_at_s) / _MEASURED_OVER_S
        if self.rate_per_s is None:
            rate = measured
        elif now_s - resumed_s < _MEASURED_OVER_S:
            rate = self.rate_per_s  # too soon after the last pause to have measured anything
        else:
            rate = min(self.rate_per_s, measured)
        return max(MIN_RATE_PER_S, DECREASE * rate)

    def _forget_before(self, since_s: float) -> None:
        while self._succeeded_at_s and self._succeeded_at_s[0] < since_s:
            self._succeeded_at_s.popleft()

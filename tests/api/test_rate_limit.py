"""The shared rate limiter, in virtual time, against the usual kinds of limits that a service may have."""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable

import pytest

from airflow_provider_paperspace.api._rate_limit import DECREASE, MIN_RATE_PER_S, RateLimiter

Limit = Callable[[float], bool]
"""Takes the instant of a request; returns whether it is served."""


def sliding_window(limit: int) -> Limit:
    served: deque[float] = deque()

    def serves(now_s: float) -> bool:
        while served and served[0] <= now_s - 1:
            served.popleft()
        if len(served) < limit:
            served.append(now_s)
            return True
        return False

    return serves


def fixed_window(limit: int) -> Limit:
    served: dict[int, int] = {}

    def serves(now_s: float) -> bool:
        served[int(now_s)] = served.get(int(now_s), 0) + 1
        return served[int(now_s)] <= limit

    return serves


def token_bucket(limit: int) -> Limit:
    tokens, filled_at_s = float(limit), 0.0

    def serves(now_s: float) -> bool:
        nonlocal tokens, filled_at_s
        tokens, filled_at_s = min(limit, tokens + limit * (now_s - filled_at_s)), now_s
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return serves


def simulate(limit: Limit, *, concurrency: int, latency_s: float, requests: int) -> tuple[float, int]:
    """Send requests through one limiter; return the seconds it took, and the most attempts that one of them took."""
    limiter, left, most_attempts, now_s, served = RateLimiter(), requests, 1, 0.0, 0
    # Each worker's next step: when, whether it starts a request or gets its answer, and what it carries.
    steps: list[tuple[float, int, str, float, int, bool, int]] = []
    for worker in range(concurrency):
        heapq.heappush(steps, (limiter.reserve_start(0.0), worker, "start", 0.0, 1, False, limiter.pauses))
        left -= 1
    while steps:
        now_s, worker, step, sent_at_s, attempt, is_served, pauses = heapq.heappop(steps)
        if step == "start":
            if pauses != limiter.pauses:  # the reservation is void
                start_s = limiter.reserve_start(now_s)
                heapq.heappush(steps, (start_s, worker, step, 0.0, attempt, False, limiter.pauses))
                continue
            heapq.heappush(steps, (now_s + latency_s, worker, "answer", now_s, attempt, limit(now_s), pauses))
            continue
        if is_served:
            limiter.record_success(now_s)
            served += 1
            if not left:
                continue
            left, attempt = left - 1, 1
        else:
            limiter.record_429(now_s, sent_at_s=sent_at_s, pause_s=1.0)
            attempt += 1
            most_attempts = max(most_attempts, attempt)
        heapq.heappush(steps, (limiter.reserve_start(now_s), worker, "start", 0.0, attempt, False, limiter.pauses))
    assert served == requests
    return now_s, most_attempts


@pytest.mark.parametrize("limit", [sliding_window, fixed_window, token_bucket])
@pytest.mark.parametrize("rate_per_s", [10, 50, 200])
@pytest.mark.parametrize("concurrency", [2, 8, 32])
@pytest.mark.parametrize("latency_s", [0.005, 0.05])
def test_four_fifths_of_any_limit_are_used(
    limit: Callable[[int], Limit], rate_per_s: int, concurrency: int, latency_s: float
) -> None:
    requests = 40 * rate_per_s
    seconds, most_attempts = simulate(
        limit(rate_per_s), concurrency=concurrency, latency_s=latency_s, requests=requests
    )
    possible_per_s = min(rate_per_s, concurrency / latency_s)
    assert requests / seconds >= 0.8 * possible_per_s
    assert most_attempts <= 4, "five attempts are the default"


def test_nothing_waits_without_a_429() -> None:
    seconds, attempts = simulate(lambda now_s: True, concurrency=4, latency_s=0.1, requests=400)
    assert seconds == pytest.approx(10.0)
    assert attempts == 1


class TestRateLimiter:
    def limiter(self, successes: int = 40) -> RateLimiter:
        limiter = RateLimiter()
        for i in range(successes):
            limiter.record_success(99 + i / 40)
        return limiter

    def test_a_start_is_never_late_without_a_limit(self) -> None:
        limiter = RateLimiter()
        assert [limiter.reserve_start(now_s) for now_s in (-100.0, 0.0, 0.0)] == [-100.0, 0.0, 0.0]
        assert (limiter.rate_per_s, limiter.pauses) == (None, 0)

    def test_a_429_pauses_every_request(self) -> None:
        limiter = self.limiter()
        assert limiter.reserve_start(100.0) == 100.0
        limiter.record_429(100.0, sent_at_s=99.9, pause_s=3.0)
        assert limiter.reserve_start(100.0) == 103.0

    def test_requests_continue_one_by_one_and_slower(self) -> None:
        limiter = self.limiter()
        limiter.record_429(100.0, sent_at_s=99.9, pause_s=3.0)
        assert limiter.rate_per_s == pytest.approx(DECREASE * 40)
        starts = [limiter.reserve_start(100.0) for _ in range(3)]
        assert starts == pytest.approx([103.0, 103 + 1 / 36, 103 + 2 / 36])

    def test_requests_under_way_prolong_the_pause_only(self) -> None:
        limiter = self.limiter()
        limiter.record_429(100.0, sent_at_s=99.9, pause_s=1.0)
        limiter.record_429(100.2, sent_at_s=99.95, pause_s=4.0)
        limiter.record_429(100.3, sent_at_s=99.96, pause_s=0.1)
        assert limiter.rate_per_s == pytest.approx(DECREASE * 40)
        assert limiter.pauses == 2, "starts reserved in the shorter pause are void"
        assert limiter.reserve_start(100.4) == pytest.approx(104.2)

    def test_a_429_right_after_a_pause_takes_off_a_tenth(self) -> None:
        limiter = self.limiter()
        limiter.record_429(100.0, sent_at_s=99.9, pause_s=1.0)
        limiter.record_429(101.2, sent_at_s=101.1, pause_s=1.0)
        assert limiter.rate_per_s == pytest.approx(DECREASE**2 * 40)
        assert limiter.pauses == 2

    def test_a_later_429_goes_by_the_measured_rate(self) -> None:
        limiter = self.limiter()
        limiter.record_429(100.0, sent_at_s=99.9, pause_s=1.0)
        for i in range(10):
            limiter.record_success(104.0 + i / 10)
        limiter.record_429(105.0, sent_at_s=104.9, pause_s=1.0)
        assert limiter.rate_per_s == pytest.approx(DECREASE * 10), "the limit has come down meanwhile"

    def test_the_rate_never_drops_to_zero(self) -> None:
        limiter = RateLimiter()
        for second in range(0, 1000, 10):
            limiter.record_429(second + 1.0, sent_at_s=second + 0.5, pause_s=0.0)
        assert limiter.rate_per_s == MIN_RATE_PER_S == 0.5

    def test_successes_raise_the_rate_slowly(self) -> None:
        limiter = self.limiter()
        limiter.record_429(100.0, sent_at_s=99.9, pause_s=1.0)
        limiter.record_success(100.5)  # still within the pause: says nothing
        assert limiter.rate_per_s == pytest.approx(36)
        for second in range(1, 11):
            limiter.record_success(101.0 + second)
        assert limiter.rate_per_s == pytest.approx(36 * 1.005**10)

    def test_each_pause_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        limiter = self.limiter()
        with caplog.at_level(logging.INFO):
            limiter.record_429(100.0, sent_at_s=99.9, pause_s=3.0)
            limiter.record_429(100.1, sent_at_s=99.9, pause_s=3.0)
        assert caplog.messages == [
            "Paperspace answered 429. Pausing all requests for 3.0 s, then continuing at 36 requests/s"
        ]

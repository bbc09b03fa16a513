"""The shared pace, played in virtual time against the usual kinds of limiters."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

import pytest

from airflow_provider_paperspace.api.pace import GIVE_WAY, Pace

Limiter = Callable[[float], bool]
"""Told the instant of a request, says whether it is served."""


def sliding_window(limit: int) -> Limiter:
    served: deque[float] = deque()

    def serves(now_s: float) -> bool:
        while served and served[0] <= now_s - 1:
            served.popleft()
        if len(served) < limit:
            served.append(now_s)
            return True
        return False

    return serves


def fixed_window(limit: int) -> Limiter:
    served: dict[int, int] = {}

    def serves(now_s: float) -> bool:
        served[int(now_s)] = served.get(int(now_s), 0) + 1
        return served[int(now_s)] <= limit

    return serves


def token_bucket(limit: int) -> Limiter:
    tokens, filled_at_s = float(limit), 0.0

    def serves(now_s: float) -> bool:
        nonlocal tokens, filled_at_s
        tokens, filled_at_s = min(limit, tokens + limit * (now_s - filled_at_s)), now_s
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return serves


def play(limiter: Limiter, *, concurrency: int, latency_s: float, requests: int) -> tuple[float, int]:
    """Send requests at a pace until so many were served; give the seconds, and the most attempts one of them took."""
    pace, left, most_attempts, now_s, served = Pace(), requests, 1, 0.0, 0
    # Each worker's next step: when, whether it sets out or hears its answer, and what it carries.
    steps: list[tuple[float, int, str, float, int, bool, int]] = []
    for worker in range(concurrency):
        heapq.heappush(steps, (pace.turn_s(0.0), worker, "sets out", 0.0, 1, False, pace.episode))
        left -= 1
    while steps:
        now_s, worker, step, sent_at_s, attempt, is_served, episode = heapq.heappop(steps)
        if step == "sets out":
            if episode != pace.episode:  # the turn is void
                heapq.heappush(steps, (pace.turn_s(now_s), worker, step, 0.0, attempt, False, pace.episode))
                continue
            heapq.heappush(steps, (now_s + latency_s, worker, "hears", now_s, attempt, limiter(now_s), episode))
            continue
        if is_served:
            pace.went_well(now_s)
            served += 1
            if not left:
                continue
            left, attempt = left - 1, 1
        else:
            pace.refused(now_s, sent_at_s=sent_at_s, pause_s=1.0)
            attempt += 1
            most_attempts = max(most_attempts, attempt)
        heapq.heappush(steps, (pace.turn_s(now_s), worker, "sets out", 0.0, attempt, False, pace.episode))
    assert served == requests
    return now_s, most_attempts


@pytest.mark.parametrize("limiter", [sliding_window, fixed_window, token_bucket])
@pytest.mark.parametrize("limit", [10, 50, 200])
@pytest.mark.parametrize("concurrency", [2, 8, 32])
@pytest.mark.parametrize("latency_s", [0.005, 0.05])
def test_whatever_the_limiter_four_fifths_of_its_rate_are_used_and_no_request_fails(
    limiter: Callable[[int], Limiter], limit: int, concurrency: int, latency_s: float
) -> None:
    requests = 40 * limit
    seconds, most_attempts = play(limiter(limit), concurrency=concurrency, latency_s=latency_s, requests=requests)
    possible_per_s = min(limit, concurrency / latency_s)
    assert requests / seconds >= 0.8 * possible_per_s
    assert most_attempts <= 4, "five attempts are the default"


def test_without_a_refusal_nothing_ever_waits() -> None:
    seconds, attempts = play(lambda now_s: True, concurrency=4, latency_s=0.1, requests=400)
    assert seconds == pytest.approx(10.0)
    assert attempts == 1


class TestPace:
    def pace(self, went_well: int = 40) -> Pace:
        pace = Pace()
        for i in range(went_well):
            pace.went_well(99 + i / 40)
        return pace

    def test_a_refusal_stops_every_request_until_the_pause_is_over(self) -> None:
        pace = self.pace()
        assert pace.turn_s(100.0) == 100.0
        pace.refused(100.0, sent_at_s=99.9, pause_s=3.0)
        assert pace.turn_s(100.0) == 103.0

    def test_after_it_they_set_out_one_by_one_slower_than_went_well(self) -> None:
        pace = self.pace()
        pace.refused(100.0, sent_at_s=99.9, pause_s=3.0)
        assert pace.rate_per_s == pytest.approx(GIVE_WAY * 40)
        turns = [pace.turn_s(100.0) for _ in range(3)]
        assert turns == pytest.approx([103.0, 103 + 1 / 36, 103 + 2 / 36])

    def test_those_under_way_at_the_refusal_prolong_the_stop_and_slow_nothing_down(self) -> None:
        pace = self.pace()
        pace.refused(100.0, sent_at_s=99.9, pause_s=1.0)
        pace.refused(100.2, sent_at_s=99.95, pause_s=4.0)
        pace.refused(100.3, sent_at_s=99.96, pause_s=0.1)
        assert (pace.rate_per_s, pace.episode) == (pytest.approx(GIVE_WAY * 40), 2), (
            "turns of the shorter stop are void"
        )
        assert pace.turn_s(100.4) == pytest.approx(104.2)

    def test_a_refusal_right_after_a_stop_takes_a_tenth_off_and_not_more(self) -> None:
        pace = self.pace()
        pace.refused(100.0, sent_at_s=99.9, pause_s=1.0)
        pace.refused(101.2, sent_at_s=101.1, pause_s=1.0)
        assert pace.rate_per_s == pytest.approx(GIVE_WAY**2 * 40)
        assert pace.episode == 2

    def test_a_refusal_later_goes_by_what_went_well_of_late(self) -> None:
        pace = self.pace()
        pace.refused(100.0, sent_at_s=99.9, pause_s=1.0)
        for i in range(10):
            pace.went_well(104.0 + i / 10)
        pace.refused(105.0, sent_at_s=104.9, pause_s=1.0)
        assert pace.rate_per_s == pytest.approx(GIVE_WAY * 10), "the limit has come down meanwhile"

    def test_it_never_comes_to_a_standstill(self) -> None:
        pace = Pace()
        for second in range(0, 1000, 10):
            pace.refused(second + 1.0, sent_at_s=second + 0.5, pause_s=0.0)
        assert pace.rate_per_s == 0.5

    def test_what_goes_well_lets_it_creep_up(self) -> None:
        pace = self.pace()
        pace.refused(100.0, sent_at_s=99.9, pause_s=1.0)
        pace.went_well(100.5)  # still within the stop: says nothing
        assert pace.rate_per_s == pytest.approx(36)
        for second in range(1, 11):
            pace.went_well(101.0 + second)
        assert pace.rate_per_s == pytest.approx(36 * 1.005**10)

    def test_one_line_tells_of_each_stop(self, caplog: pytest.LogCaptureFixture) -> None:
        pace = self.pace()
        with caplog.at_level("INFO"):
            pace.refused(100.0, sent_at_s=99.9, pause_s=3.0)
            pace.refused(100.1, sent_at_s=99.9, pause_s=3.0)
        assert caplog.messages == [
            "Paperspace answers 429, too many requests: all requests wait 3.0 s, then 36 a second set out"
        ]

from __future__ import annotations

import threading
import time

import pytest

from kvmguest.deadline import Deadline, call_within, poll
from kvmguest.errors import Silent
from tests.doubles.fake_backend import FakeClock


@pytest.mark.parametrize(
    ("limit_s", "work_s"), [(10, 5), (60, 54), (300, 270), (30, 25), (4, 2), (1, 0.5)]
)
def test_a_reserve_is_kept_for_the_last_words(limit_s: float, work_s: float) -> None:
    deadline = Deadline(limit_s, FakeClock())
    assert deadline.remaining() == pytest.approx(work_s)
    assert work_s < deadline.remaining_hard() < limit_s


def test_what_is_left_shrinks_and_never_turns_negative() -> None:
    clock = FakeClock()
    deadline = Deadline(20, clock)
    clock.sleep(14)
    assert deadline.remaining() == pytest.approx(1)
    assert deadline.slice(0.25) == pytest.approx(0.25)
    assert deadline.slice(3600) == pytest.approx(1)
    clock.sleep(100)
    assert deadline.remaining() == 0
    assert deadline.remaining_hard() == 0
    assert deadline.slice(5) == 0


def test_sleep_does_not_pass_the_end() -> None:
    clock = FakeClock()
    deadline = Deadline(20, clock, clock.sleep)
    deadline.sleep(3)
    assert clock.now == 3
    deadline.sleep(1000)
    assert clock.now == 15


def test_polling_leaves_time_for_a_last_look() -> None:
    clock = FakeClock()
    assert Deadline(20, clock, clock.sleep).poll(lambda: None, 1000) is None
    assert clock.now == 14


def test_polling_looks_once_even_with_no_time() -> None:
    clock = FakeClock()
    assert Deadline(1, clock, clock.sleep).poll(lambda: "here", 1000) == "here"
    assert clock.now == 0


def test_poll_returns_the_first_find_at_once() -> None:
    clock = FakeClock()
    found = poll(lambda: clock.now if clock.now >= 1 else None, 10, clock=clock, sleep=clock.sleep)
    assert found == 1.0
    assert clock.now == 1.0


def test_poll_looks_once_where_there_is_no_time() -> None:
    clock = FakeClock()
    assert poll(lambda: "here", 0, clock=clock, sleep=clock.sleep) == "here"
    assert poll(lambda: None, -5, clock=clock, sleep=clock.sleep) is None
    assert clock.now == 0


def test_poll_takes_zero_and_false_for_finds() -> None:
    clock = FakeClock()
    assert poll(lambda: 0, 10, clock=clock, sleep=clock.sleep) == 0
    assert clock.now == 0


def test_poll_looks_once_more_at_the_very_end() -> None:
    """What happened in the last quarter of a second counts."""
    clock = FakeClock()
    found = poll(lambda: True if clock.now >= 1 else None, 1, clock=clock, sleep=clock.sleep)
    assert found is True


def test_a_call_gives_its_result() -> None:
    assert call_within(5, "sum", lambda: 2 + 2) == 4


def test_a_result_of_none_is_a_result() -> None:
    assert call_within(5, "nothing", lambda: None) is None


def test_a_call_gives_its_error() -> None:
    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        call_within(5, "fail", fail)


def test_a_call_that_hangs_is_abandoned_and_named() -> None:
    end = threading.Event()
    start = time.monotonic()
    with pytest.raises(Silent, match=r"virsh domstate web: no answer in 0\.1 s"):
        call_within(0.1, "virsh domstate web", end.wait)
    assert time.monotonic() - start < 2
    end.set()


def test_an_abandoned_call_does_not_keep_the_process() -> None:
    """Only daemon threads: a normal one would be waited for at the interpreter's end."""
    seen: list[bool] = []
    call_within(5, "look", lambda: seen.append(threading.current_thread().daemon))
    assert seen == [True]


@pytest.mark.parametrize("seconds", [0, -1.5])
def test_a_call_without_time_is_not_begun(seconds: float) -> None:
    begun: list[bool] = []
    with pytest.raises(Silent, match="no time left"):
        call_within(seconds, "virsh start web", lambda: begun.append(True))
    assert begun == []

"""Results that are computed ahead: the same results and errors as one after the other."""

from __future__ import annotations

import threading
import time

import pytest

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.evaluation.ahead import computed


class Squares:
    """Squares numbers; remembers which, and in which threads. Two of them fail, each in its own way."""

    def __init__(self) -> None:
        self.asked, self.threads = [], set()

    def __call__(self, number: int) -> int:
        self.threads.add(threading.get_ident())
        time.sleep(0.002)
        self.asked.append(number)
        if number in (3, 5):
            raise {3: RuntimeError, 5: InputError}[number](f"{number} fails")
        return number**2


def taken(compute, *, ahead: bool) -> list:
    """Each number with its result, or its error."""
    found = []
    with computed(range(20), compute, ahead=ahead) as results:
        for number, result in results:
            try:
                found.append((number, result()))
            except Exception as error:
                found.append((number, repr(error)))
    return found


def test_every_item_gets_its_own_result_or_error_and_is_computed_once():
    now, ahead = Squares(), Squares()
    assert taken(ahead, ahead=True) == taken(now, ahead=False)
    assert ahead.asked == now.asked == list(range(20))
    assert len(ahead.threads) == 1, "an engine serves one caller at a time"
    assert threading.get_ident() not in ahead.threads


def test_few_items_wait_however_many_there_are():
    begun = []
    with computed(range(100), begun.append, ahead=True) as results:
        for number, result in results:
            result()
            assert len(begun) <= number + 3
    assert len(begun) == 100


def interrupted(after: int) -> None:
    with computed(range(100), Squares(), ahead=True) as results:
        for _ in range(after):
            next(results)
        raise KeyboardInterrupt


@pytest.mark.parametrize("after", [0, 1, 50])
def test_an_end_in_the_middle_ends_the_thread(after):
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        interrupted(after)
    assert threading.active_count() == before

"""Two threads between the newest image and its velocity: they work at once, in order, and on nothing that is stale."""

import threading

import pytest

from image_as_imu_ros.nodes.pipeline import Pipeline

PATIENCE = 20.0  # s


class Work:
    """Infers and estimates numbers: each step waits until it is allowed, where that was asked for."""

    def __init__(self, fail=()) -> None:
        self.fail = fail
        self.begun = {step: [] for step in ("infer", "estimate")}
        self.failures = []
        self.changed = threading.Condition()
        self.allowed = {"infer": 10**6, "estimate": 10**6}
        self.pipeline = Pipeline(self.infer, self.estimate, self.failures.append)

    def step(self, name: str, number: int) -> None:
        with self.changed:
            self.begun[name].append(number)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: len(self.begun[name]) <= self.allowed[name], PATIENCE)
        if (name, number) in self.fail:
            raise ValueError(f"{name} {number}")

    def infer(self, number: int) -> int:
        self.step("infer", number)
        return number

    def estimate(self, number: int) -> None:
        self.step("estimate", number)

    def allow(self, **steps: int) -> None:
        with self.changed:
            self.allowed.update(steps)
            self.changed.notify_all()

    def wait_for(self, **begun: list[int]) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: all(self.begun[k] == v for k, v in begun.items()), PATIENCE), (
                self.begun
            )


@pytest.fixture
def work(request):
    work = Work(**getattr(request, "param", {}))
    work.pipeline.start()
    yield work
    work.allow(infer=10**6, estimate=10**6)
    work.pipeline.close()


def test_the_network_runs_while_the_frame_before_is_estimated(work):
    work.allow(estimate=0)
    work.pipeline.put(1)
    work.wait_for(estimate=[1])
    work.pipeline.put(2)
    work.wait_for(infer=[1, 2], estimate=[1])


def test_of_images_that_come_meanwhile_the_newest_is_next(work):
    work.allow(estimate=0)
    work.pipeline.put(1)
    work.wait_for(estimate=[1])
    work.pipeline.put(2)
    work.wait_for(infer=[1, 2])
    assert [work.pipeline.put(number) for number in (3, 4, 5)] == [False, True, True]
    assert work.begun["infer"] == [1, 2], "one frame waits, no second one"
    work.allow(estimate=10)
    work.wait_for(infer=[1, 2, 5], estimate=[1, 2, 5])


@pytest.mark.parametrize("work", [{"fail": [("infer", 1), ("estimate", 2)]}], indirect=True)
def test_after_a_failure_the_next_image_gets_its_chance(work):
    for number, inferred in ((1, [1]), (2, [1, 2]), (3, [1, 2, 3])):
        work.pipeline.put(number)
        work.wait_for(infer=inferred, estimate=inferred[1:])
    work.pipeline.close()
    assert [str(error) for error in work.failures] == ["infer 1", "estimate 2"]


@pytest.mark.parametrize("busy", ["infer", "estimate"])
def test_closing_waits_for_what_is_being_done_and_drops_the_rest(work, busy):
    work.allow(**{busy: 0})
    work.pipeline.put(1)
    work.wait_for(**{busy: [1]})
    work.pipeline.put(2)
    threading.Timer(0.05, lambda: work.allow(**{busy: 10})).start()
    work.pipeline.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("blur_imu_")]
    assert work.begun["estimate"] in ([], [1])

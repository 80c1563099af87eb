"""Terms of the loss, their weights and the running average are what their formulas say."""

import pytest

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_ros.estimation.constants import SHARED
from image_as_imu_training.training.data import motion_field_matrices, random_generator
from image_as_imu_training.training.losses import rendered_terms, sure_flow_term
from image_as_imu_training.training.train import _update_average
from image_as_imu_training.training.velocity import _robust_weight


def test_a_network_cannot_lower_the_flow_term_by_its_sigmas():
    """Surer cells weigh more, but what they weigh is a constant."""
    flow, sigma = torch.rand(1, 2, 3, 4, requires_grad=True), torch.rand(1, 2, 3, 4, requires_grad=True)
    sure_flow_term(flow, sigma, torch.ones(1, 2, 3, 4), torch.ones(1, 3, 4, dtype=torch.bool)).backward()
    assert sigma.grad is None
    assert flow.grad is not None


def test_velocities_do_not_learn_from_cells_whose_depth_nobody_knows():
    """Behind something that moves, and in holes, neither the network's flow nor its depth counts."""
    drawn = torch.Generator().manual_seed(0)
    flow = 5 + torch.rand(1, 2, 8, 8, generator=drawn)
    sigma, depth = torch.ones(1, 2, 8, 8), 1 + torch.rand(1, 1, 8, 8, generator=drawn)
    hole = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    hole[..., :3] = True
    batch = {
        "flow": flow,
        "depth": depth.masked_fill(hole, torch.nan),
        "moving": hole[:, 0],
        "depth_known": torch.ones(1, dtype=torch.bool),
        "matrix": motion_field_matrices(torch.tensor([[60.0, 31.5, 31.5]]), 8, 8, 8),
        "motion": torch.tensor([[0.02, -0.03, 0.01, 0.03, -0.05, 0.04]]),
    }

    def terms(in_hole: float) -> dict[str, float]:
        outputs = (torch.where(hole, in_hole, flow), sigma, torch.where(hole, in_hole, 0.8 * depth), sigma[:, :1])
        found = rendered_terms(outputs, batch, velocity=True)
        return {name: found[name].item() for name in ("flow", "depth", "velocity", "own_depth")}

    assert terms(2.0) == pytest.approx(terms(9.0), rel=1e-6)


def test_cells_beyond_the_limit_weigh_less_by_the_square_of_limit_over_distance_squared():
    """A good fit: the limit is the one of the runtime's solver. Nine in ten cells lie on the truth."""
    residual = torch.zeros(1, 2, 1, 10, dtype=torch.float64)
    residual[0, 0, 0, 9] = 3 * SHARED.inlier_sigmas
    weight = _robust_weight(residual, torch.ones(1, 1, 10, dtype=torch.bool))[0, 0]
    assert weight[:9].tolist() == [1] * 9
    assert weight[9].item() == pytest.approx((1 / 3**2) ** 2)


def test_the_average_follows_at_first_and_is_slow_later():
    """Of the weights before and after a step it keeps (1 + n) / (10 + n), at most 0.999."""
    for step, kept in ((1, 2 / 11), (90, 0.91), (10**6, 0.999)):
        mean, value = torch.zeros(3), torch.ones(3)
        _update_average([(mean, value)], step)
        torch.testing.assert_close(mean, torch.full((3,), 1 - kept))


def test_everything_drawn_has_numbers_of_its_own_and_the_same_ones_again():
    def first(*of) -> float:
        return torch.rand((), generator=random_generator(*of), dtype=torch.float64).item()

    drawn = [
        (1, 2, 3, "samples"),
        (2, 2, 3, "samples"),
        (1, 3, 3, "samples"),
        (1, 2, 4, "samples"),
        (1, 2, 3, "window"),
    ]
    assert len({first(*of) for of in drawn}) == len(drawn)
    assert [first(*of) for of in drawn] == [first(*of) for of in drawn]

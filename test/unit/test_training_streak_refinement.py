"""The refinement sees in the spectra of large windows how long streaks are, whatever their direction and scale."""

import math

import pytest

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_training.networks.streak_refinement import _LOG_CYCLES, StreakRefinement
from image_as_imu_training.rendering.motion import axial_from_signed

SIDE = 128
PROFILES = ("along", "beside", "turning", "across", "seen")


def blurred_noise(length: int) -> torch.Tensor:
    """White noise (1, 1, SIDE, SIDE) 0…1 that a camera smeared over `length` px from left to right."""
    torch.manual_seed(0)
    noise = torch.rand(1, 1, SIDE, SIDE + length - 1)
    return noise.unfold(3, length, 1).mean(4)


def constant(x: float, y: float) -> torch.Tensor:
    """The axial field (1, 2, h, w) of the streak (x, y) px everywhere."""
    return axial_from_signed(torch.tensor([float(x), float(y)])[None, :, None, None].expand(1, 2, SIDE // 8, SIDE // 8))


def profiles(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """What all windows show (1, windows, inputs)."""
    return StreakRefinement().profiles(image, flow, torch.ones_like(flow))[0]


def mean_profiles(image: torch.Tensor, flow: torch.Tensor) -> dict[str, torch.Tensor]:
    """Means over the windows at full resolution of the five profiles, by cycles."""
    bins = len(_LOG_CYCLES)
    found = profiles(image, flow)[0, : 3 * 3, : 5 * bins].mean(0).unflatten(0, (5, bins))
    return dict(zip(PROFILES, found, strict=True))


def dip(image: torch.Tensor, flow: torch.Tensor) -> float:
    """How much darker the first dark line is along a guess than what lies half a cycle to either side."""
    along, cycles = mean_profiles(image, flow)["along"], _LOG_CYCLES.exp()
    near = (cycles - 1).abs() < 0.15
    beside = ((cycles - 0.6).abs() < 0.15) | ((cycles - 1.5).abs() < 0.15)
    return float(along[beside].mean() - along[near].mean())


def test_before_training_nothing_is_changed():
    flow, sigma = torch.randn(2, 2, 28, 40), torch.rand(2, 2, 28, 40)
    refined = StreakRefinement()(torch.rand(2, 1, 224, 320), flow, sigma)
    torch.testing.assert_close(refined, (flow, sigma))


@pytest.mark.parametrize("length", [5, 8, 12])
def test_the_first_dark_line_is_where_the_streak_holds_one_cycle(length):
    image = blurred_noise(length)
    right = dip(image, constant(length, 0))
    assert right > 0.2
    for wrong in ((0.7 * length, 0), (1.4 * length, 0), (0, length)):
        assert dip(image, constant(*wrong)) < right / 2


def test_a_guess_that_should_rotate_is_seen_from_its_sides():
    """The side towards the true direction has the deeper dark line; mirrored, it is the other side."""
    image, bins = blurred_noise(10), (_LOG_CYCLES.exp() - 1).abs() < 0.1
    tilt = math.radians(7.5)
    one, other = (
        mean_profiles(image, constant(10 * math.cos(tilt), sign * 10 * math.sin(tilt)))["turning"][bins].mean()
        for sign in (-1, 1)
    )
    assert abs(one) > 0.1
    assert one * other < 0


def test_what_is_seen_rotates_with_the_image():
    """A quarter turn, of which both image and guess know, changes nothing but the order of the windows."""
    image = blurred_noise(9)
    straight = profiles(image, constant(8, 2))
    rotated = profiles(image.rot90(1, (2, 3)), constant(2, -8))
    torch.testing.assert_close(straight[0].sum(0), rotated[0].sum(0), rtol=1e-3, atol=2e-2)


def test_half_the_resolution_shows_streaks_of_twice_the_length_alike():
    small = blurred_noise(8)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    twice = constant(16, 0).repeat_interleave(2, 2).repeat_interleave(2, 3)
    bins = 5 * len(_LOG_CYCLES)
    at_half = profiles(large, twice)[0, 5 * 5 : 5 * 5 + 4 * 4, :bins].unflatten(0, (4, 4))
    at_full = profiles(small, constant(8, 0))[0, : 3 * 3, :bins].unflatten(0, (3, 3))
    torch.testing.assert_close(at_half[::3, ::3], at_full[::2, ::2], rtol=1e-3, atol=1e-3)  # in the corners


def test_images_smaller_than_a_window_are_left_to_the_first_guess():
    flow, sigma = torch.randn(1, 2, 4, 4), torch.rand(1, 2, 4, 4)
    refinement = StreakRefinement()
    torch.nn.init.normal_(refinement.shared.bias)
    assert refinement(torch.rand(1, 1, 32, 32), flow, sigma) == (flow, sigma)


def test_a_correction_scales_the_streak_and_rotates_it_by_its_angle():
    refinement = StreakRefinement()
    with torch.no_grad():
        refinement.shared.bias.copy_(torch.tensor([0.2, 0.1, 0.3, -0.4]))
    flow, sigma = constant(6, 0), torch.ones(1, 2, SIDE // 8, SIDE // 8)
    refined, refined_sigma = refinement(torch.rand(1, 1, SIDE, SIDE), flow, sigma)
    length = 6 * math.exp(math.tanh(0.2))
    torch.testing.assert_close(refined, constant(length * math.cos(0.1), length * math.sin(0.1)))
    torch.testing.assert_close(refined_sigma[:, 0], torch.full_like(sigma[:, 0], math.exp(0.3)))
    torch.testing.assert_close(refined_sigma[:, 1], torch.full_like(sigma[:, 0], math.exp(-0.4)))

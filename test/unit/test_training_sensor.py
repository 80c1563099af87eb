"""Every step from light to the 8-bit image does what cameras do, and nothing to images that give it nothing to do."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_training.rendering import sensor
from image_as_imu_training.rendering.draws import Draws
from image_as_imu_training.rendering.filters import change, gaussian_blur, median_of_nine
from image_as_imu_training.rendering.point_lights import MOST, SHARE, with_point_lights
from image_as_imu_training.rendering.sensor import MARGIN, photograph, sharpen
from image_as_imu_training.rendering.tone_mapping import map_tones
from image_as_imu_training.rendering.video_codec import deblock, quantize_blocks, quantizer_step, video_frame


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers(*values):
    """One number per sample, as the steps take them."""
    return torch.tensor(values)[:, None, None, None]


def textures(batch, height=128, width=128):
    """Detail of all scales, 0…1."""
    white = torch.randn(batch, 1, height, width, generator=generator(7))
    image = sum(scale * gaussian_blur(white, torch.full((batch,), scale)) for scale in (0.5, 1.0, 2.0))
    return (0.4 + 0.25 * image).clamp(0, 1)


def blurred_along_rows(batch, length=24):
    """Textures with streaks `length` px long, with room for the sensor's margin."""
    width = 128 + 2 * MARGIN
    sharp = textures(batch, width, width + length - 1)
    return torch.nn.functional.avg_pool2d(sharp, (1, length), stride=1)


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("rounding", [1 / 3, 1 / 6])
def test_quantised_coefficients_are_off_by_less_than_a_step(block, rounding):
    image, step = 255 * textures(2), quantizer_step(numbers(24.0, 36.0))
    error = quantize_blocks(image, step, rounding, block) - image
    # The transform is orthonormal: of each coefficient's error, (1 − rounding)·step is the most.
    assert (error.square().mean((1, 2, 3)).sqrt() < (1 - rounding) * step.flatten()).all()
    assert (error.abs().amax((1, 2, 3)) < block * (1 - rounding) * step.flatten()).all()
    fine = quantize_blocks(image, torch.full_like(step, 1e-3), rounding, block)
    assert torch.allclose(fine, image, atol=0.01)


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("inter", [False, True])
def test_a_coarser_quantiser_loses_more(block, inter):
    image = 255 * textures(1).expand(4, -1, -1, -1)
    decoded = video_frame(image, numbers(20.0, 26.0, 32.0, 38.0), numbers(*[inter] * 4), block)
    error = (decoded - image).square().mean((1, 2, 3))
    assert (error.diff() > 0).all()
    assert error[0] < quantizer_step(torch.tensor(20.0)) ** 2


def test_a_predicted_frame_repairs_some_of_the_loss():
    image = 255 * textures(1).expand(2, -1, -1, -1)
    decoded = video_frame(image, numbers(32.0, 32.0), numbers(False, True), 8)
    alone, predicted = (decoded - image).square().mean((1, 2, 3))
    assert predicted < 0.95 * alone


def test_deblocking_smooths_small_steps_only():
    image = torch.full((2, 1, 32, 32), 100.0)
    image[0, :, :, 8:] += 4
    image[1, :, :, 8:] += 80
    smoothed = deblock(image, numbers(32.0, 32.0), 8)
    assert smoothed[0].diff(dim=-1).abs().max() < 4
    assert torch.equal(smoothed[1], image[1])


@pytest.mark.parametrize("intensity", [0, 3, 130, 255])
def test_a_constant_image_is_left_alone(intensity):
    image = torch.full((2, 1, 64, 64), float(intensity))
    qp, light = numbers(38.0, 20.0), image / 255
    for block in (8, 16):
        assert torch.allclose(video_frame(image, qp, numbers(True, False), block), image, atol=0.5)
    mapped = map_tones(light, numbers(16.0, 32.0), numbers(0.4, 1.0), numbers(0.9, 1.4))
    assert torch.allclose(mapped, light, atol=1e-4)
    assert torch.allclose(sharpen(light, numbers(0.6, 2.5), numbers(2.0, 2.0)), light, atol=1e-4)
    assert torch.equal(median_of_nine(light), light)


def test_an_edge_gets_halos_as_wide_as_the_radius():
    edge = (torch.arange(64) >= 32).float().expand(2, 1, 64, 64) * 0.4 + 0.3
    halo = sharpen(edge, numbers(0.6, 2.5), numbers(1.0, 1.0))[:, 0, 32]
    overshoot = halo[:, 32:] - 0.7
    # Half of the edge's height, less what the blur of a pixel's width leaves.
    assert (overshoot.amax(1) > 0.05).all()
    assert (overshoot.amax(1) < 0.5 * 0.4).all()
    wide = (overshoot > 0.02).sum(1)
    assert wide[1] >= 3 * wide[0]
    assert torch.allclose(0.3 - halo[:, :32].flip(1), overshoot, atol=1e-5)


def test_tone_mapping_keeps_the_order_of_smooth_luminance_and_compresses_its_range():
    ramp = torch.logspace(-2, 0, 256).expand(2, 1, 128, 256)
    mapped = map_tones(ramp, numbers(16.0, 32.0), numbers(0.4, 0.9), numbers(0.9, 1.4))
    assert (mapped.diff(dim=-1) >= 0).all()
    stops = (mapped[:, 0, 64, 224] / mapped[:, 0, 64, 32]).log2()
    original = (ramp[0, 0, 64, 224] / ramp[0, 0, 64, 32]).log2()
    assert stops[0] < 0.55 * original
    assert 0.8 * original < stops[1] < original


def test_tone_mapping_raises_detail():
    light = 0.3 + 0.05 * torch.sin(torch.arange(128) / 2).expand(2, 1, 128, 128)
    mapped = map_tones(light, numbers(24.0, 24.0), numbers(1.0, 1.0), numbers(1.0, 1.4))
    assert torch.allclose(mapped[0], light[0], atol=1e-4)
    assert mapped[1, :, :, 40:90].std() == pytest.approx(1.4 * light[1, :, :, 40:90].std().item(), rel=0.05)


def test_lamps_are_few_and_bright():
    plain = textures(400, 96, 96)
    lit = with_point_lights(plain, generator(1))
    added = lit - plain
    some = added.amax((1, 2, 3)) > 0
    assert some.float().mean().item() == pytest.approx(SHARE, abs=0.04)
    assert torch.equal(lit[~some], plain[~some])
    assert (added >= 0).all()
    peaks = added[some].amax((1, 2, 3))
    assert peaks.min() > 1
    assert peaks.max() <= MOST * 100
    assert (added[some] > 0.5).float().mean() < 0.1


def test_lamps_do_not_darken_the_rest():
    light = 0.3 + 0.1 * textures(64, 64 + 2 * MARGIN, 64 + 2 * MARGIN)
    lamps = light.clone()
    lamps[:, :, 30:32, 30:33] = 60.0
    plain, lit = (photograph(each, generator(2)).float() for each in (light, lamps))
    away = torch.ones(64, 64, dtype=torch.bool)
    away[10:40, 10:40] = False
    assert lit[:, away].mean() > 0.95 * plain[:, away].mean()
    assert (lit[:, 24:26, 24:27].amax((1, 2)) >= plain[:, 24:26, 24:27].amax((1, 2))).float().mean() > 0.9


def test_images_are_reproduced_with_any_number_of_threads(monkeypatch):
    light = blurred_along_rows(16)
    images = photograph(light, generator(3))
    monkeypatch.setattr(sensor, "_THREADS", 1)
    assert torch.equal(photograph(light, generator(3)), images)
    assert not torch.equal(photograph(light, generator(4)), images)


def test_the_light_is_not_changed():
    light = blurred_along_rows(16)
    before = light.clone()
    photograph(light, generator(3))
    assert torch.equal(light, before)


def test_steps_apply_to_the_chosen_images_only():
    image = textures(4, 16, 16)
    before = image.clone()
    chosen = numbers(False, True, False, True)
    change(image, chosen, lambda some, add: some + add, numbers(1.0, 2.0, 3.0, 4.0))
    assert torch.equal(image - before > 0.5, chosen.expand_as(image))
    assert torch.allclose(image[3], before[3] + 4)
    change(image, torch.zeros_like(chosen), lambda some: 1 / 0)


def test_draws_keep_to_their_ranges_and_shares():
    draws = Draws(4000, torch.device("cpu"), generator())
    assert draws.per_image(2, 3).mean().item() == pytest.approx(2.5, abs=0.02)
    assert draws.log_uniform(0.01, 1).log10().mean().item() == pytest.approx(-1, abs=0.03)
    assert draws.choose(0.2).float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_streaks_keep_their_orientation():
    """What differs between rows outweighs what differs along them, before the sensor and after it."""
    images = photograph(blurred_along_rows(96), generator(5)).float()
    images = (images - images.mean((1, 2), keepdim=True))[:, None]
    smooth = gaussian_blur(images, torch.full((96,), 1.0))[:, 0]
    along, across = smooth.diff(dim=2).square().mean((1, 2)), smooth.diff(dim=1).square().mean((1, 2))
    ratio = (across / along.clamp(min=1e-6)).sqrt()
    assert ratio.median() > 2.5
    assert (ratio > 1.1).float().mean() > 0.85


def test_a_streaks_spectrum_keeps_its_dips():
    """The first dip of a box of 24 px lies at 1/24 cycles per px."""
    images = photograph(blurred_along_rows(96), generator(6)).double().numpy()
    images = (images - images.mean((1, 2), keepdims=True)) * np.hanning(128)
    power = np.median((np.abs(np.fft.rfft(images, 4 * 128, axis=2)) ** 2).mean(1), 0)
    frequency = np.fft.rfftfreq(4 * 128)
    near = (frequency > 0.6 / 24) & (frequency < 1.4 / 24)
    assert frequency[near][power[near].argmin()] == pytest.approx(1 / 24, abs=0.1 / 24)


class GivenDraws(Draws):
    """Shot noise of 1e-4 of full scale, read noise of 1e-3 (both by `log_uniform`), and no other choice taken."""

    def choose(self, share: float) -> torch.Tensor:
        return torch.zeros(self.batch, 1, 1, 1, dtype=torch.bool)

    def log_uniform(self, low: float, high: float) -> torch.Tensor:
        return torch.full((self.batch, 1, 1, 1), 1e-4 if low == 1e-6 else 1e-3)


@pytest.mark.parametrize("intensity", [0.01, 0.3])
def test_noise_has_the_variance_of_photons_and_of_reading(intensity):
    """Shot noise grows with the light, read noise does not: variance = 1e-4·L + 1e-6."""
    light = torch.full((1, 1, 400, 400), intensity)
    noisy = sensor._with_noise(light, torch.zeros(1, 1, 1, 1, dtype=torch.bool), given_draws(1))
    assert noisy.mean().item() == pytest.approx(intensity, abs=1e-4)
    assert noisy.var().item() == pytest.approx(1e-4 * intensity + 1e-6, rel=0.02)


def given_draws(batch: int) -> GivenDraws:
    return GivenDraws(batch, torch.device("cpu"), generator())


def test_grain_is_correlated_noise_of_the_same_variance():
    white = torch.randn(2, 1, 200, 200, generator=generator())
    grain = sensor._grain(white, numbers(0.5, 1.2))
    torch.testing.assert_close(grain.std((1, 2, 3)), torch.ones(2))
    assert ((grain[..., 1:] * grain[..., :-1]).mean((1, 2, 3)) > 0.1).all()


def test_srgb_encoding_is_undone_by_decoding(monkeypatch):
    draws = given_draws(1)
    monkeypatch.setattr(GivenDraws, "choose", lambda *_: torch.ones(1, 1, 1, 1, dtype=torch.bool))
    light = torch.linspace(0, 1, 101).view(1, 1, 1, -1)
    torch.testing.assert_close(sensor.linear_from_srgb(sensor._encoded(light.clone(), draws)), light, atol=1e-5, rtol=0)


def test_a_point_keeps_its_place_from_the_light_to_the_sensors_image():
    """At twice the scale, without the margin, its centre is where the label's coordinates have it."""
    light = torch.full((1, 1, 32 + 2 * MARGIN, 48 + 2 * MARGIN), 0.1)
    light[..., MARGIN + 13, MARGIN + 22] = 1
    exposed = sensor._exposed(light, torch.zeros(1, 1, 1, 1, dtype=torch.bool), given_draws(1))[0, 0]
    assert exposed.shape == (64, 96)
    weight = torch.nn.functional.avg_pool2d(exposed[None, None], 2)[0, 0]
    weight = (weight - weight.median()).clamp(min=0)
    rows, columns = torch.arange(32.0)[:, None], torch.arange(48.0)
    assert ((weight * rows).sum() / weight.sum()).item() == pytest.approx(13, abs=0.05)
    assert ((weight * columns).sum() / weight.sum()).item() == pytest.approx(22, abs=0.05)


def test_quantizer_steps_are_those_of_the_standard():
    """H.264: a step of 1 at QP 4, twice that every six."""
    torch.testing.assert_close(quantizer_step(torch.tensor([4.0, 10.0, 28.0])), torch.tensor([1.0, 2.0, 16.0]))

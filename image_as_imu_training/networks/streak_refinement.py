"""From a first guess of the streaks and the spectra of large windows: their length and orientation, more exactly.

A streak f multiplies the power of a spatial frequency k by sinc²(f·k), so all that tells its length is power as a
function of f·k. Once the guess f₀ says along which lines to add, and how to scale them, that is one short profile per
window of 2·log|sinc(c)| over c = f₀·k: zero at c = 1, 2, 3 … if the guess is right, at c = ‖f₀‖/‖f‖ times these if its
length is wrong. On a logarithmic axis of c a wrong length displaces the profile, a wrong orientation makes its left and
right neighbours unequal. That can be learned from few examples, and holds for all orientations and
lengths.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from image_as_imu_training.rendering.views import STRIDE

_WINDOW = 64  # px
_FOLDED = _WINDOW // 2  # every other frequency is enough: the taper makes neighbours repeat each other
_WAVES = 14  # per axis, up to 13/32 cycles/px
_SCALES = ((1, 48), (2, 24), (4, 16))  # the image shrunk by this much, and px of that from one window to the next
_SMALLEST = 48  # px that a shrunk image must have; what it lacks to a window is padded
_QUANTISATION = 1 / 12 / 255**2  # variance of 8-bit values
_LOWEST, _HIGHEST = 3.5 / _WINDOW, 0.43  # cycles/px; below, windows leak, above, cameras show little
_LINES = 24  # orientations
_STEP = math.log(1.108)  # of the logarithm of a frequency along a line, and of a cycle count
_LOG_FREQUENCIES = math.log(_HIGHEST) - _STEP * torch.arange(35, -1, -1)  # from 0.012 cycles/px
_LOG_CYCLES = math.log(0.25) + _STEP * torch.arange(33)  # of f·k, up to 6.6
_ATTENTIONS = 4  # weightings of windows against each other
_SHORTEST_PX = 0.3


class StreakRefinement(nn.Module):
    """Reads the spectra of large windows by the light of a first guess, and corrects it.

    Per window a profile of log power over cycles of f·k, along the guessed streak, to its left, right and across it;
    from all of them corrections that the frame shares and corrections around each window.
    """

    sums: torch.Tensor
    counts: torch.Tensor
    lines: torch.Tensor

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        sums, counts = _line_sums()
        self.register_buffer("sums", sums, persistent=False)
        self.register_buffer("counts", counts, persistent=False)
        twice = 2 * math.pi * torch.arange(_LINES) / _LINES
        next_one = 2 * math.pi / _LINES
        lines = torch.cat([twice, twice - next_one, twice + next_one, twice + math.pi])  # the last is across
        self.register_buffer("lines", torch.stack([lines.cos(), lines.sin()]), persistent=False)
        inputs = 5 * len(_LOG_CYCLES) + 6
        self.window = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.attention = nn.Linear(width, _ATTENTIONS)
        self.value = nn.Linear(width, width)
        self.frame = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.context = nn.Linear(width, width)
        self.shared, last_local = nn.Linear(width, 4), nn.Linear(width, 5)
        self.local = nn.Sequential(nn.Linear(width, width), nn.ReLU(), last_local)
        for last in (self.shared, last_local):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self, image: torch.Tensor, flow: torch.Tensor, sigma: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Improve flow and sigma.

        Args:
            image: (B, 1, H, W) luminance 0…1. flow: (B, 2, h, w) axial q, px. sigma: (B, 2, h, w) px.
        """
        if min(image.shape[-2:]) < _SMALLEST:
            return flow, sigma
        with torch.no_grad():
            profiles, shares = self.profiles(image, flow, sigma)
        length, angle, along, across = self.corrections(profiles, shares)
        cells = tuple(map(int, flow.shape[-2:]))
        length, angle = torch.tanh(length).exp().unflatten(1, cells), 2 * angle.unflatten(1, cells)
        x, y = flow.unbind(1)
        flow = torch.stack([x * angle.cos() - y * angle.sin(), y * angle.cos() + x * angle.sin()], 1) * length[:, None]
        return flow, sigma * torch.stack([along, across], 1).clamp(-3, 3).exp().unflatten(2, cells)

    def profiles(
        self, image: torch.Tensor, flow: torch.Tensor, sigma: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what windows of all scales show (B, windows, inputs), and the cells they cover (windows, cells)."""
        rows, columns = map(int, flow.shape[-2:])
        image = image - image.mean((2, 3), keepdim=True)
        transformed, shares, octaves = [], [], []
        device = image.device
        for shrink, step in _SCALES:
            shrunk = image if shrink == 1 else F.avg_pool2d(image, shrink)
            height, width = map(int, shrunk.shape[-2:])
            if min(height, width) < _SMALLEST:
                break
            lacking = (0, max(0, _WINDOW - width), 0, max(0, _WINDOW - height))
            if any(lacking):
                shrunk = F.pad(shrunk, lacking, "replicate")
            transformed.append(_transformed(shrunk, step))
            shares.append(_shares(rows, columns, height + lacking[3], width + lacking[1], shrink, step, device))
            octaves.append(torch.full((len(shares[-1]), 1), math.log2(shrink), device=device))
        shares, octave = torch.cat(shares), torch.cat(octaves)
        cosines, sines = torch.cat(transformed, 1).unbind(2)
        (cc, cs), (sc, ss) = (part.unbind(3) for part in (cosines, sines))
        powers = [(cc - ss).square() + (sc + cs).square(), (cc + ss).square() + (sc - cs).square()]
        log_power = (torch.cat(powers, 2).flatten(2) + _QUANTISATION * (3 / 8 * _WINDOW) ** 2).log()
        level = log_power.mean(2, keepdim=True)
        alike = (octave == octave.T).float()
        relative = level - (alike / alike.sum(1, keepdim=True)) @ level  # to that of all windows of its scale
        flow, sigma = (torch.cat([flow, sigma], 1).flatten(2) @ shares.T).transpose(1, 2).split(2, 2)
        length = flow.norm(dim=2, keepdim=True).clamp(min=_SHORTEST_PX)
        about = [length.log(), (sigma / length).log(), level / 4 + 1, relative / 2, octave.expand_as(length)]
        shrunk_log_length = length.log() - math.log(2) * octave
        return torch.cat([self._along_lines(log_power, flow / length, shrunk_log_length), *about], 2), shares

    def _along_lines(self, log_power: torch.Tensor, unit: torch.Tensor, log_length: torch.Tensor) -> torch.Tensor:
        """Add log power along and across the guessed streaks: (B, windows, 5 · cycle counts).

        Args:
            log_power: (B, windows, frequencies). unit: (B, windows, 2) q/‖q‖. log_length: (B, windows, 1) of ‖q‖ in the
                windows' px.
        """
        sums = (log_power @ self.sums).unflatten(2, (_LINES, -1))
        nearness = F.relu(unit @ self.lines - math.cos(2 * math.pi / _LINES)).unflatten(2, (-1, _LINES))
        nearness = nearness / nearness.sum(3, keepdim=True).clamp(min=1e-4)
        displacement = _hats(_displacements(unit.device), log_length[..., None])
        total, count = nearness @ sums @ displacement, nearness @ self.counts @ displacement
        along, left, right, across = (total / count.clamp(min=0.3)).unbind(2)
        seen = count[:, :, 0].clamp(max=10) / 10
        return torch.cat([along / 2, (left + right) / 4, (left - right) / 2, across / 2, seen], 2)

    def corrections(self, profiles: torch.Tensor, shares: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Correct the logarithm of length, the angle in rad, and the logarithms of both sigmas: (B, cells) each."""
        windows = self.window(profiles)
        attention = self.attention(windows).softmax(1).transpose(1, 2).unsqueeze(2)
        values = self.value(windows).unflatten(2, (_ATTENTIONS, -1)).permute(0, 2, 1, 3)
        frame = self.frame((attention @ values).flatten(1))
        local = self.local(F.relu(windows + self.context(frame)[:, None]))
        local, weight = local.split((4, 1), 2)
        weight = weight.clamp(-4, 4).exp()
        local, weight = (shares.T @ torch.cat([weight * local, weight], 2)).split((4, 1), 2)
        correction = self.shared(frame)[:, None] + local / weight.clamp(min=1e-6)
        return correction.unbind(2)


def _transformed(image: torch.Tensor, step: int) -> torch.Tensor:
    """Fourier-transform windows at most `step` px apart, column by column of them.

    Image (B, 1, H, W) → (B, windows, 2, _WAVES, 2, _WAVES): cosines and sines over rows times those over columns.
    """
    height, width = map(int, image.shape[-2:])
    rows, columns = (_waves(size, step, image.device) for size in (height, width))
    # Two products with fixed matrices transform all windows at once.
    columns = columns.unflatten(0, (-1, 2 * _WAVES)).transpose(1, 2)
    windows = ((rows @ image.squeeze(1)).unsqueeze(1) @ columns).unflatten(2, (-1, 2, _WAVES))
    return windows.unflatten(5, (2, _WAVES)).flatten(1, 2)


def _line_sums() -> tuple[torch.Tensor, torch.Tensor]:
    """Say how to add log power along lines: (frequencies, _LINES · bins), and the number added (_LINES, bins).

    The frequencies are those of (±ky, kx), ky, kx = 0 … _WAVES − 1. A smooth part, what textures and optics make of a
    spectrum without blur, is taken out first: a cubic in the logarithm of frequency, and waves over orientation.
    """
    wave = torch.arange(_WAVES, dtype=torch.float64) / _FOLDED
    y, x = torch.meshgrid(wave, wave, indexing="ij")
    y, x = torch.stack([y, -y]), torch.stack([x, x])
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    chosen = (radius >= _LOWEST) & (radius <= _HIGHEST)
    chosen[1] &= (x[1] > 0) & (y[1] < 0)  # the others are in the first half, too
    log_radius = torch.where(chosen, radius, 1).log()
    smooth = [log_radius**power for power in range(4)]
    for trigonometric in (torch.cos, torch.sin):
        smooth += [
            wave
            for order in (2, 4)
            for wave in (trigonometric(order * angle), log_radius * trigonometric(order * angle))
        ]
    basis, _ = torch.linalg.qr((torch.stack(smooth, -1) * chosen[..., None]).flatten(0, 2))
    chosen = chosen.flatten().double()
    orientation = math.pi * torch.arange(_LINES, dtype=torch.float64) / _LINES
    along = (x.flatten()[:, None] * orientation.cos() + y.flatten()[:, None] * orientation.sin()).abs()
    log_along = along.clamp(min=1e-6).log().clamp(min=float(_LOG_FREQUENCIES[0]))
    bins = _hats(log_along[..., None], _LOG_FREQUENCIES)
    sums = chosen[:, None, None] * bins
    without_smooth = torch.diag(chosen) - basis @ basis.T
    return (without_smooth @ sums.flatten(1)).float(), sums.sum(0).float()


@cache
def _displacements(device: torch.device) -> torch.Tensor:
    """Say how far each frequency is from each cycle count, as logarithms: (frequencies, cycle counts)."""
    return (_LOG_CYCLES - _LOG_FREQUENCIES[:, None]).to(device)


@cache
def _shares(
    rows: int, columns: int, height: int, width: int, shrink: int, step: int, device: torch.device
) -> torch.Tensor:
    """Weigh the network's cells in the windows of an image of height × width shrunk px: (windows, cells).

    Each window's sum is 1.
    """
    along_axis = []
    for cells, size in ((rows, height), (columns, width)):
        centre = (torch.tensor(_starts(size, step)) + _WINDOW / 2) * shrink
        cell = (torch.arange(cells) + 0.5) * STRIDE
        distance = (centre[:, None] - cell).abs() / (shrink * _WINDOW / 2)
        along_axis.append(torch.cos(math.pi / 2 * distance.clamp(max=1)) ** 2)
    shares = torch.einsum("ir,jc->jirc", *along_axis).flatten(2).flatten(0, 1)
    return (shares / shares.sum(1, keepdim=True)).to(device)


@cache
def _waves(size: int, step: int, device: torch.device) -> torch.Tensor:
    """Make cosines and sines under a Hann window, window by window: (windows · 2 · _WAVES, size)."""
    place = torch.arange(_WINDOW)
    hann = torch.sin(math.pi * (place + 0.5) / _WINDOW) ** 2
    phase = 2 * math.pi * torch.arange(_WAVES)[:, None] * place / _FOLDED
    waves = torch.stack([phase.cos(), phase.sin()]) * hann
    starts = _starts(size, step)
    placed = torch.zeros(len(starts), 2, _WAVES, size)
    for index, start in enumerate(starts):
        placed[index, :, :, start : start + _WINDOW] = waves
    return placed.flatten(0, 2).to(device)


@cache
def _starts(size: int, step: int) -> tuple[int, ...]:
    """Place the first px of the windows that cover `size` px, at most `step` px apart."""
    room = size - _WINDOW
    count = math.ceil(room / step) + 1
    return tuple(round(room * index / max(count - 1, 1)) for index in range(count))


def _hats(place: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
    """Weigh for linear interpolation between nodes _STEP apart."""
    return F.relu(1 - (place / _STEP - node / _STEP).abs())

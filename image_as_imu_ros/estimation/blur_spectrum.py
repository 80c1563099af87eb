"""Motion from the dark lines in the spectra of a blurred image.

Blur along a straight streak f (px over the exposure) multiplies the spectrum at a frequency k by sinc(f·k): it is dark
where f·k is a whole number other than zero, whatever the texture. These lines tell the length and orientation of
streaks to a few percent, but many motions darken some line by chance. So the network's answer is the start and the
prior, the lines refine it, and how clear they are says how probable the refined answer is.

Windows are transformed at full and at half resolution. Their log power L, less a smooth function of the frequency, is
compared with what a motion x leads one to expect, E(x) = log(sinc²(f·k) + smear + floor), less its smooth part, times a
gain g that follows from the image. With n the variance of a value and Λ the prior's information, x minimises

    (x − x₀)ᵀ·Λ·(x − x₀) − 2·LLR(x),    2·LLR(x) = Σ w·(2·g·E·L − g²·E²) / n,

where LLR is the log-likelihood ratio of the motion against any blur. A chance c that the best of many motions has
anyway makes 1 / (1 + exp(c − LLR)) the posterior probability that the lines are those of the blur.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.blur_windows import WindowGrid
from image_as_imu_ros.estimation.constants import SPECTRUM
from image_as_imu_ros.estimation.loop_constants import SpectrumLoopConstants
from image_as_imu_ros.geometry.camera import Camera

_FOLDED = SPECTRUM.window // 2
_LOG_POWER_VARIANCE = math.pi**2 / 6  # of a periodogram
_TINY = np.float32(1e-6)  # cycles


@dataclass(frozen=True)
class Refined:
    """A refined motion.

    Attributes:
        motion: (P,). covariance: (P, P), prior included.
        log_likelihood_ratio: of this motion against any blur.
    """

    motion: np.ndarray
    covariance: np.ndarray
    log_likelihood_ratio: float

    @property
    def posterior_probability(self) -> float:
        """How probable it is, 0…1, that these are lines of the blur, and not chance."""
        return 1 / (1 + math.exp(SPECTRUM.chance - self.log_likelihood_ratio))


@dataclass(frozen=True)
class Windows:
    """The windows of a camera's images, at full and at half resolution as far as they fit in.

    Attributes:
        grids: by falling resolution; empty for images smaller than a window.
    """

    grids: tuple[WindowGrid, ...]

    @classmethod
    def of(cls, camera: Camera, stride: int, scene: np.ndarray | None = None) -> Windows:
        """For images of `camera`, of which a network predicts one cell per `stride` px; see `WindowGrid.of`."""
        shrinks = [one for one in (1, 2) if min(camera.width, camera.height) // one >= SPECTRUM.window]
        grids = [WindowGrid.of(camera, stride, shrink, scene) for shrink in shrinks]
        return cls(tuple(grid for grid in grids if len(grid.corners)))

    def spectra(
        self, image: np.ndarray, blur: float, relative_sigma: float, depth: np.ndarray | None
    ) -> BlurSpectra | None:
        """Spectra that may show a blur; None if it is too short or too long, the network lost, or the image too small.

        Of streaks that are longer than it ever saw, a network makes out little, and says so by its sigmas. The lines of
        some other length then fit best, however badly.

        Args:
            image: (H, W) or (H, W, 3) uint8. blur: mean length of the streaks, px.
            relative_sigma: of the network's output, over the typical one. depth: see `BlurSpectra.of`.
        """
        grids = [grid for grid in self.grids if blur <= SPECTRUM.longest_blur * grid.shrink]
        if not grids or blur < SPECTRUM.shortest_blur or relative_sigma > SPECTRUM.largest_sigma:
            return None
        luminance = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return BlurSpectra.joined([BlurSpectra.of(luminance, grid, depth) for grid in grids])


@dataclass(frozen=True)
class BlurSpectra:
    """Log power spectra of an image's windows.

    Attributes:
        matrix: (2, P, W) px per unit of motion, at the windows' centres.
        log_power: (W, F) less its smooth part.
        weights: (W,) how much each counts.
    """

    matrix: np.ndarray
    log_power: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, grid: WindowGrid, depth: np.ndarray | None) -> BlurSpectra:
        """Of a luminance image (H, W) uint8. Unknowns are (v, ω), given the depth (h, w) m of the cells, else ω."""
        if grid.shrink > 1:
            image = cv2.resize(image, None, fx=1 / grid.shrink, fy=1 / grid.shrink, interpolation=cv2.INTER_AREA)
        frequencies = _frequencies()
        folded = _folded(image, grid.corners)
        spectra = np.fft.rfft2(folded).reshape(len(folded), -1)[:, frequencies.index]
        power = np.square(spectra.real) + np.square(spectra.imag)
        mean = power.mean(1)
        rounding = np.float32(SPECTRUM.rounding * np.square(_taper()).sum())
        # Of a uniform window, single precision leaves far less than rounding to 8 bits would.
        weights = (mean > max(SPECTRUM.faint * np.median(mean), 1e-3 * rounding)).astype(np.float32)
        log_power = np.log(power + rounding)
        matrix = grid.matrix.angular
        if depth is not None:
            inverse = 1 / depth.reshape(-1)[grid.cells]
            known = np.isfinite(inverse)
            inverse = np.where(known, inverse, 0).sum(1) / np.maximum(known.sum(1), 1)
            matrix = np.concatenate([grid.matrix.linear * inverse[:, None, None], matrix], 2)
            weights *= known.any(1)
        seen = np.asarray(np.isfinite(matrix).all((1, 2)))
        return cls(
            np.where(seen[:, None, None], matrix, 0).transpose(1, 2, 0),
            frequencies.without_smooth_part(log_power),
            weights * seen,
        )

    @classmethod
    def joined(cls, parts: Sequence[BlurSpectra]) -> BlurSpectra:
        """Windows of several grids."""
        return cls(
            np.concatenate([part.matrix for part in parts], 2),
            np.concatenate([part.log_power for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )

    def refine(self, motion: np.ndarray, covariance: np.ndarray) -> Refined:
        """Find the most probable motion (P,), given one from elsewhere with its covariance (P, P), and the lines."""
        prior = np.linalg.inv(covariance)
        some = BlurSpectra(
            self.matrix[:, :, :: SPECTRUM.sparsity],
            self.log_power[:: SPECTRUM.sparsity],
            SPECTRUM.sparsity * self.weights[:: SPECTRUM.sparsity],
        )
        starts = [motion]
        scale = _scales()[np.argmin(some._scores(_scales()[:, None] * motion, motion, prior))]
        if scale != 1:
            starts.append(scale * motion)
        offset = self._least_certain(covariance)
        if np.sqrt(np.square(offset @ self.matrix).sum(0).mean()) > SPECTRUM.catchment:
            starts += [motion - offset, motion + offset]
        found = np.array([some._descend(start, motion, prior)[0] for start in starts])
        start = found[np.argmin(self._scores(found, motion, prior))]
        best, log_likelihood_ratio, information = self._descend(start, motion, prior)
        refined = np.linalg.inv(information)[:-1, :-1]
        return Refined(best, refined, log_likelihood_ratio)

    def _scores(self, motions: np.ndarray, prior_motion: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Rate motions (K, P): (K,), see `_Comparison.score`."""
        if (loops := compiled.loops("blur_spectrum")) is not None:
            return loops.scores(*compiled.doubles(motions, prior_motion, prior), *self._for_loops)
        return np.array([self._compare(motion, prior_motion, prior).score for motion in motions])

    def _least_certain(self, covariance: np.ndarray) -> np.ndarray:
        """Offset (P,) of the motion, one standard deviation, where that changes the streaks most."""
        one_sigma = np.linalg.cholesky(covariance)
        flow = self.matrix.transpose(0, 2, 1).reshape(-1, len(covariance)) @ one_sigma
        return one_sigma @ np.linalg.eigh(flow.T @ flow)[1][:, -1]

    def _descend(
        self, start: np.ndarray, prior_motion: np.ndarray, prior: np.ndarray
    ) -> tuple[np.ndarray, float, np.ndarray]:
        """Descend from a motion (Levenberg–Marquardt).

        Returns:
            Where it ends, the log-likelihood ratio there, and the information, gain included.
        """
        if (loops := compiled.loops("blur_spectrum")) is not None:
            motion, information = start.astype(np.float64), np.empty((len(start) + 1, len(start) + 1))
            doubled_ratio = loops.descend(motion, *compiled.doubles(prior_motion, prior), *self._for_loops, information)
            return motion, doubled_ratio / 2, information
        best = self._compare(start, prior_motion, prior)
        information, gradient = self._normal_equations(best, prior_motion, prior)
        damping = 1e-3
        for _ in range(SPECTRUM.iterations):
            step = np.linalg.solve(information + damping * np.diag(np.diag(information)), gradient)[:-1]
            found = self._compare(best.motion + step, prior_motion, prior)
            if found.score >= best.score:
                damping *= 10
                continue
            gained, best, damping = best.score - found.score, found, damping / 3
            information, gradient = self._normal_equations(best, prior_motion, prior)
            if gained < SPECTRUM.negligible:
                break
        return best.motion, best.log_likelihood_ratio, information

    @cached_property
    def _for_loops(self) -> tuple[np.ndarray | tuple[float, ...], ...]:
        frequencies = _frequencies()
        arrays = self.log_power, self.weights, frequencies.value, frequencies.smooth.T
        constants = SpectrumLoopConstants(
            smear=SPECTRUM.smear,
            floor=SPECTRUM.floor,
            lowest_gain=SPECTRUM.lowest_gain,
            highest_gain=SPECTRUM.highest_gain,
            noise=_noise(),
            iterations=SPECTRUM.iterations,
            negligible=SPECTRUM.negligible,
        )
        return *compiled.doubles(self.matrix), *compiled.singles(*arrays), tuple(map(float, constants))

    def _compare(self, motion: np.ndarray, prior_motion: np.ndarray, prior: np.ndarray) -> _Comparison:
        """Predict the spectra of a motion, with the gain that suits the image best."""
        flow = (motion @ self.matrix).astype(np.float32)
        phase = flow.T @ _frequencies().value
        angle = np.float32(math.pi) * (np.abs(phase) + _TINY)
        sinc = np.sin(angle) / angle
        smear = np.float32(SPECTRUM.smear**2) * np.square(flow).sum(0)[:, None] / (1 + np.square(phase))
        power = np.square(sinc) + smear + np.float32(SPECTRUM.floor)
        expected = _frequencies().without_smooth_part(np.log(power))
        weighted = self.weights[:, None] * expected
        product, square = float(np.vdot(weighted, self.log_power)), float(np.vdot(weighted, expected))
        gain = min(max(product / max(square, 1e-9), SPECTRUM.lowest_gain), SPECTRUM.highest_gain)
        doubled_ratio = (2 * gain * product - gain**2 * square) / _noise()
        moved = motion - prior_motion
        score = float(moved @ prior @ moved) - doubled_ratio
        return _Comparison(motion, phase, sinc, smear, power, expected, gain, doubled_ratio / 2, score)

    def _normal_equations(
        self, at: _Comparison, prior_motion: np.ndarray, prior: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of Gauss–Newton in the motion and, last, the gain: information (P + 1, P + 1) and gradient (P + 1,)."""
        frequencies = _frequencies()
        by_phase = np.float32(at.gain) * at.slope()
        residual = self.log_power - np.float32(at.gain) * at.expected
        # Slopes by the flow are by_phase·k less its smooth part. What they are multiplied by has none, or the same one.
        smooth = by_phase @ frequencies.smooth_by_value
        smooth = smooth.reshape(len(smooth), 2, -1)
        by_flow = np.square(by_phase) @ frequencies.value_products
        between = np.empty((len(smooth), 3, 3))  # of flow x, y and gain
        between[:, :2, :2] = by_flow.reshape(-1, 2, 2) - smooth @ smooth.transpose(0, 2, 1)
        between[:, :2, 2] = between[:, 2, :2] = (by_phase * at.expected) @ frequencies.value.T
        between[:, 2, 2] = np.square(at.expected).sum(1)
        against = np.empty((len(smooth), 3))
        against[:, :2] = (by_phase * residual) @ frequencies.value.T
        against[:, 2] = (at.expected * residual).sum(1)
        weights = self.weights.astype(np.float64) / _noise()
        size = self.matrix.shape[1]
        jacobian = np.zeros((len(weights), 3, size + 1))
        jacobian[:, :2, :size], jacobian[:, 2, size] = self.matrix.transpose(2, 0, 1), 1
        weighted = (weights[:, None, None] * jacobian).reshape(-1, size + 1).T
        information = weighted @ (between @ jacobian).reshape(-1, size + 1)
        gradient = weighted @ against.ravel()
        information[:size, :size] += prior
        information[size, size] += 1e-9
        gradient[:size] -= prior @ (at.motion - prior_motion)
        return information, gradient


@dataclass(frozen=True)
class _Comparison:
    """Expected spectra of a motion beside those of an image.

    Attributes:
        phase: (W, F) f·k. sinc: of that. smear: see `SpectrumConstants.smear`.
        power: what all of it leaves, relative to no blur.
        expected: (W, F) log power, less its smooth part.
        gain: see the module. log_likelihood_ratio: see `Refined`.
        score: what is minimised, see the module.
    """

    motion: np.ndarray
    phase: np.ndarray
    sinc: np.ndarray
    smear: np.ndarray
    power: np.ndarray
    expected: np.ndarray
    gain: float
    log_likelihood_ratio: float
    score: float

    def slope(self) -> np.ndarray:
        """(W, F) derivative of log power by f·k."""
        cycles = np.abs(self.phase) + _TINY
        slope = np.sign(self.phase) * (np.cos(np.float32(math.pi) * cycles) - self.sinc) / cycles
        return 2 * (self.sinc * slope - self.smear * self.phase / (1 + np.square(self.phase))) / self.power


@dataclass(frozen=True)
class _Frequencies:
    """The frequencies that are compared.

    Attributes:
        index: (F,) in the flattened rfft2 of a folded window. value: (2, F) x and y, cycles/px.
        value_products: (F, 4) of x and y: xx, xy, yx and yy.
        smooth: (F, S) orthonormal, what textures and optics make of a spectrum without blur.
        smooth_by_value: (F, 2·S) the same times x, then times y.
    """

    index: np.ndarray
    value: np.ndarray
    value_products: np.ndarray
    smooth: np.ndarray
    smooth_by_value: np.ndarray

    def without_smooth_part(self, values: np.ndarray) -> np.ndarray:
        """(W, F) → (W, F)."""
        return values - (values @ self.smooth) @ self.smooth.T


@cache
def _frequencies() -> _Frequencies:
    y, x = np.meshgrid(np.fft.fftfreq(_FOLDED), np.fft.rfftfreq(_FOLDED), indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    chosen = (radius >= SPECTRUM.lowest) & (radius <= SPECTRUM.highest) & ((x > 0) | (y > 0))
    log_radius = np.log(np.where(chosen, radius, 1))
    smooth = [log_radius**power for power in range(4)]
    for wave in (np.cos, np.sin):
        smooth += [part for n in (2, 4) for part in (wave(n * angle), log_radius * wave(n * angle))]
    basis, _ = np.linalg.qr(np.stack([values[chosen] for values in smooth], 1))
    value, smooth = np.stack([x[chosen], y[chosen]]).astype(np.float32), basis.astype(np.float32)
    products = (value[:, None] * value).reshape(4, -1).T
    smooth_by_value = np.hstack([k[:, None] * smooth for k in value])
    return _Frequencies(np.flatnonzero(chosen), value, products, smooth, smooth_by_value)


def _folded(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Cut out windows, taper them, subtract their mean, and fold them: (W, 32, 32).

    The transform of folded windows is every other frequency of the windows' own. That is enough, for the taper makes
    neighbouring frequencies repeat each other.
    """
    taper = _taper()
    if (loops := compiled.loops("blur_spectrum")) is not None:
        return loops.folded(np.ascontiguousarray(image), np.ascontiguousarray(corners, np.int64), taper)
    windows = np.lib.stride_tricks.sliding_window_view(image, taper.shape)[tuple(corners.T)]
    folded, folded_taper = (_halves_added(one) for one in (windows * taper, taper[None]))
    return folded - (folded.sum((1, 2), keepdims=True) / taper.sum()) * folded_taper


def _halves_added(windows: np.ndarray) -> np.ndarray:
    """(W, 64, 64) → (W, 32, 32)."""
    rows = windows[:, :_FOLDED] + windows[:, _FOLDED:]
    return rows[:, :, :_FOLDED] + rows[:, :, _FOLDED:]


def _scales() -> np.ndarray:
    """Lengths to start from, relative to the prior's."""
    return np.exp(SPECTRUM.log_scale_step * np.arange(-SPECTRUM.shorter_starts, SPECTRUM.longer_starts + 1))


def _noise() -> float:
    """Variance of a value of log power, as many of them share an error."""
    return _LOG_POWER_VARIANCE * SPECTRUM.correlated_values


@cache
def _taper() -> np.ndarray:
    """Hann window."""
    hann = np.square(np.sin(np.pi * (np.arange(SPECTRUM.window) + 0.5) / SPECTRUM.window))
    return (hann[:, None] * hann).astype(np.float32)

"""The spectra's inner loops, compiled: `BlurSpectra._compare`, `_normal_equations` and `_descend` window by window.

Imported by `compiled` alone, where Numba is installed. Sines and logarithms are series, because loops that call a
library for each value are not vectorised: Taylor's series of what is left of f·k, at most 0.5, beside a whole number,
to below 1e-7; and log m = 2·(s + s³/3 + s⁵/5 + …) with s = (m − 1)/(m + 1), for the mantissa m from √½ to √2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from image_as_imu_ros.estimation.loop_constants import SpectrumLoopConstants
from image_as_imu_ros.estimation.small_matrices import OPTIONS, PART, factor, solve_factored

_F, _U = np.float32, np.uint32
_SIN = tuple(_F((-1) ** k * math.pi ** (2 * k + 1) / math.factorial(2 * k + 1)) for k in range(6))
_COS = tuple(_F((-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k)) for k in range(7))
_LOG = tuple(_F(2 / (2 * k + 1)) for k in range(5))
_ONE, _TWO, _HALF, _PI, _TINY, _LOG_2 = _F(1), _F(2), _F(0.5), _F(math.pi), _F(1e-6), _F(math.log(2))
_MANTISSA_BITS, _MANTISSA, _ROOT = _U(23), _U(0x7FFFFF), _U(0x3F3504F3)  # the last: bits of √½
_BIAS, _TO_ROOT = np.int32(127), _U((127 << 23) - 0x3F3504F3)
_CONSTANTS = f"UniTuple(f8, {len(SpectrumLoopConstants._fields)})"
_SPECTRA = f"f8[:,:,::1], f4[:,::1], f4[::1], f4[:,::1], f4[:,::1], {_CONSTANTS}"


class _Spectra(NamedTuple):
    """See `BlurSpectra`; `value` (2, F) and `smooth` (K, F) are of its frequencies."""

    matrix: np.ndarray
    log_power: np.ndarray
    weights: np.ndarray
    value: np.ndarray
    smooth: np.ndarray


class _Prior(NamedTuple):
    """Motion (P,) that is expected, and information (P, P)."""

    motion: np.ndarray
    information: np.ndarray


@numba.njit(**PART)
def _logarithms(values, bits, mantissas, mantissa_bits, exponents):
    """Replace (F,) positive numbers by their logarithms. `…bits` are the same memory as uint32, the last is scratch."""
    for n in range(len(values)):
        moved = _U(bits[n] + _TO_ROOT)
        exponents[n] = np.int32(moved >> _MANTISSA_BITS)
        mantissa_bits[n] = _U(moved & _MANTISSA) + _ROOT
    for n in range(len(values)):
        s = (mantissas[n] - _ONE) / (mantissas[n] + _ONE)
        z = s * s
        series = _LOG[0] + z * (_LOG[1] + z * (_LOG[2] + z * (_LOG[3] + z * _LOG[4])))
        values[n] = s * series + (_F(exponents[n]) - _F(_BIAS)) * _LOG_2


@numba.njit(**PART)
def _power(x, y, value, smear_per_px, floor, power, slope):
    """Fill in the power (F,) that a streak (x, y) px leaves, and the slope of its logarithm by f·k."""
    smear_of_flow = smear_per_px * smear_per_px * (x * x + y * y)
    for n in range(len(power)):
        phase = x * value[0, n] + y * value[1, n]
        cycles = abs(phase) + _TINY
        whole = np.rint(cycles)
        part = cycles - whole
        z = part * part
        alternating = _ONE - _TWO * (whole - _TWO * np.floor(_HALF * whole))
        sine = part * (_SIN[0] + z * (_SIN[1] + z * (_SIN[2] + z * (_SIN[3] + z * (_SIN[4] + z * _SIN[5])))))
        cosine = _COS[3] + z * (_COS[4] + z * (_COS[5] + z * _COS[6]))
        cosine = _COS[0] + z * (_COS[1] + z * (_COS[2] + z * cosine))
        sinc = alternating * sine / (_PI * cycles)
        widened = _ONE + phase * phase
        smear = smear_of_flow / widened
        power[n] = sinc * sinc + smear + floor
        by_phase = (alternating * cosine - sinc) / cycles * (_ONE if phase >= 0 else -_ONE)
        slope[n] = _TWO * (sinc * by_phase - smear * phase / widened) / power[n]


@numba.njit(**PART)
def _dot(a, b):
    total = _F(0)
    for n in range(len(a)):
        total += a[n] * b[n]
    return total


@numba.njit(**PART)
def _compare(motion, spectra, constants, expected, slopes):
    """Fill in expected spectra (W, F) and their slopes; the gain, and twice the log-likelihood ratio."""
    matrix, weights, smooth = spectra.matrix, spectra.weights, spectra.smooth
    smear, floor, size = _F(constants.smear), _F(constants.floor), spectra.value.shape[1]
    mantissas, exponents = np.empty(size, np.float32), np.empty(size, np.int32)
    product, square = 0.0, 0.0
    for w in range(len(weights)):
        x, y = 0.0, 0.0
        for i in range(len(motion)):
            x += motion[i] * matrix[0, i, w]
            y += motion[i] * matrix[1, i, w]
        row = expected[w]
        _power(_F(x), _F(y), spectra.value, smear, floor, row, slopes[w])
        _logarithms(row, row.view(np.uint32), mantissas, mantissas.view(np.uint32), exponents)
        for k in range(len(smooth)):
            part = _dot(row, smooth[k])
            for n in range(size):
                row[n] -= part * smooth[k, n]
        product += weights[w] * _dot(row, spectra.log_power[w])
        square += weights[w] * _dot(row, row)
    gain = min(max(product / max(square, 1e-9), constants.lowest_gain), constants.highest_gain)
    return gain, (2 * gain * product - gain**2 * square) / constants.noise


@numba.njit(**PART)
def _score(motion, prior, doubled_ratio):
    """Return what is minimised."""
    total = -doubled_ratio
    for i in range(len(motion)):
        for j in range(len(motion)):
            total += (motion[i] - prior.motion[i]) * prior.information[i, j] * (motion[j] - prior.motion[j])
    return total


@numba.njit(**PART)
def _window_equations(spectra, w, slope, expected, gain, between, against):
    """Fill in normal equations (3, 3) and (3,) of window w, in its flow x, y and the gain."""
    log_power, value, smooth, size = spectra.log_power[w], spectra.value, spectra.smooth, len(slope)
    by_x, by_y, residual = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for n in range(size):
        by_phase = gain * slope[n]
        by_x[n], by_y[n] = by_phase * value[0, n], by_phase * value[1, n]
        residual[n] = log_power[n] - gain * expected[n]
    xx, xy, yy = _dot(by_x, by_x), _dot(by_x, by_y), _dot(by_y, by_y)
    for k in range(len(smooth)):
        x, y = _dot(by_x, smooth[k]), _dot(by_y, smooth[k])
        xx, xy, yy = xx - x * x, xy - x * y, yy - y * y
    between[0, 0], between[0, 1], between[1, 0], between[1, 1] = xx, xy, xy, yy
    between[0, 2] = between[2, 0] = _dot(by_x, expected)
    between[1, 2] = between[2, 1] = _dot(by_y, expected)
    between[2, 2] = _dot(expected, expected)
    against[0], against[1], against[2] = _dot(by_x, residual), _dot(by_y, residual), _dot(expected, residual)


@numba.njit(**PART)
def _normal_equations(motion, prior, gain, spectra, noise, expected, slopes, information, gradient):
    """Fill in information (P + 1, P + 1) and gradient (P + 1,) of Gauss–Newton in the motion and, last, the gain."""
    size = len(motion)
    between, against, jacobian = np.empty((3, 3)), np.empty(3), np.zeros((3, size + 1))
    jacobian[2, size] = 1
    information[:, :] = 0
    gradient[:] = 0
    for w in range(len(expected)):
        weight = spectra.weights[w] / noise
        _window_equations(spectra, w, slopes[w], expected[w], _F(gain), between, against)
        for i in range(size):
            jacobian[0, i], jacobian[1, i] = spectra.matrix[0, i, w], spectra.matrix[1, i, w]
        for i in range(size + 1):
            for a in range(3):
                by_unknown = weight * jacobian[a, i]
                gradient[i] += by_unknown * against[a]
                for j in range(i + 1):
                    for b in range(3):
                        information[i, j] += by_unknown * between[a, b] * jacobian[b, j]
    information[size, size] += 1e-9
    for i in range(size):
        for j in range(size):
            gradient[i] -= prior.information[i, j] * (motion[j] - prior.motion[j])
            information[i, j] += prior.information[i, j] if j <= i else 0.0
    for i in range(size + 1):
        for j in range(i):
            information[j, i] = information[i, j]


@numba.njit(f"f8[::1](f8[:,::1], f8[::1], f8[:,::1], {_SPECTRA})", cache=True, **OPTIONS)
def scores(motions, prior_motion, prior, matrix, log_power, weights, value, smooth, constants):
    """Rate motions (K, P): scores (K,), the less the better."""
    spectra, limits = _Spectra(matrix, log_power, weights, value, smooth), SpectrumLoopConstants(*constants)
    expected, slopes = np.empty_like(log_power), np.empty_like(log_power)
    rated = np.empty(len(motions))
    for k in range(len(motions)):
        _, ratio = _compare(motions[k], spectra, limits, expected, slopes)
        rated[k] = _score(motions[k], _Prior(prior_motion, prior), ratio)
    return rated


@numba.njit(f"f8(f8[::1], f8[::1], f8[:,::1], {_SPECTRA}, f8[:,::1])", cache=True, **OPTIONS)
def descend(motion, prior_motion, prior, matrix, log_power, weights, value, smooth, constants, information):
    """Descend from a motion (P,), which changes in place, and fill in the information (P + 1, P + 1) where it ends.

    Returns:
        Twice the log-likelihood ratio.
    """
    spectra, limits = _Spectra(matrix, log_power, weights, value, smooth), SpectrumLoopConstants(*constants)
    expectation, size = _Prior(prior_motion, prior), len(motion)
    expected, slopes = np.empty_like(log_power), np.empty_like(log_power)
    lower, gradient, step, trial = np.empty((size + 1, size + 1)), np.empty(size + 1), np.empty(size + 1), motion.copy()
    gain, best_ratio = _compare(motion, spectra, limits, expected, slopes)
    best = _score(motion, expectation, best_ratio)
    _normal_equations(motion, expectation, gain, spectra, limits.noise, expected, slopes, information, gradient)
    damping = 1e-3
    for _ in range(int(limits.iterations)):
        for i in range(size + 1):
            step[i] = gradient[i]
            for j in range(size + 1):
                lower[i, j] = information[i, j] * (1 + damping if i == j else 1.0)
        damping *= 10
        if not factor(lower):
            continue
        solve_factored(lower, step)
        for i in range(size):
            trial[i] = motion[i] + step[i]
        gain, ratio = _compare(trial, spectra, limits, expected, slopes)
        found = _score(trial, expectation, ratio)
        if not found < best:
            continue
        gained, best, best_ratio, damping = best - found, found, ratio, damping / 30
        for i in range(size):
            motion[i] = trial[i]
        _normal_equations(motion, expectation, gain, spectra, limits.noise, expected, slopes, information, gradient)
        if gained < limits.negligible:
            break
    return best_ratio


@numba.njit("f4[:,:,::1](u1[:,::1], i8[:,::1], f4[:,::1])", cache=True, **OPTIONS)
def folded(image, corners, taper):
    """Cut windows (W, n, n) out of an image, taper them, subtract their mean, and fold them to (W, n/2, n/2)."""
    size, half = len(taper), len(taper) // 2
    windows, folded_taper, taper_sum = np.zeros((len(corners), half, half), _F), np.zeros((half, half), _F), _F(0)
    for row in range(size):
        for column in range(half):
            pair = taper[row, column] + taper[row, column + half]
            folded_taper[row % half, column] += pair
            taper_sum += pair
    for w in range(len(corners)):
        top, left = corners[w, 0], corners[w, 1]
        window, total = windows[w], _F(0)
        for row in range(size):
            pixels, factors, sums = image[top + row], taper[row], window[row % half]
            for column in range(half):
                first = _F(pixels[left + column]) * factors[column]
                sums[column] += first + _F(pixels[left + column + half]) * factors[column + half]
        for row in range(half):
            for column in range(half):
                total += window[row, column]
        for row in range(half):
            for column in range(half):
                window[row, column] -= total / taper_sum * folded_taper[row, column]
    return windows

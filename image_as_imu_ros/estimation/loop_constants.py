"""What compiled loops are given of the constants, by name. Python passes them as plain tuples, in this order."""

from __future__ import annotations

from typing import NamedTuple


class TwoViewLoopConstants(NamedTuple):
    """Of `two_view_loop`.

    Attributes:
        least_std, common_std: px. shared: tracks that share an error of the map; overlapping: of their own.
        largest_step: m and rad. shear_std: rad. translation_std: m. converged: rad, that a step must move.
    """

    least_nearness: float
    least_std: float
    tail: float
    shared: float
    overlapping: float
    common_std: float
    largest_step: float
    shear_std: float
    translation_std: float
    converged: float


class RefinementLoopConstants(NamedTuple):
    """Of `refinement_loop`.

    Attributes:
        quantisation: variance of an intensity. shared: points that share an error. prior_std, lever_arm: see `Prior`.
        largest_step: m and rad. converged: px.
    """

    robust: float
    quantisation: float
    shared: float
    mean_size_to_std: float
    largest_step: float
    converged: float
    abandoned: float
    least_gain: float
    largest_gain: float
    shear_std: float
    prior_std: float
    lever_arm: float


class SpectrumLoopConstants(NamedTuple):
    """Of `blur_spectrum_loop`: see `SpectrumConstants` of the method, and `_noise`."""

    smear: float
    floor: float
    lowest_gain: float
    highest_gain: float
    noise: float
    iterations: float
    negligible: float

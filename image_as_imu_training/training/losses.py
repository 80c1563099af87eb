"""What training minimises, as separate terms. Their weights are in the configuration.

With predicted axial flow q̂, its sigmas s∥, s⊥, depth Ẑ and its sigma s_Z of a cell, and q and Z the true ones:

    flow         ‖C(q̂) − C(q)‖,  C(q) = q/‖q‖ · log(1 + κ‖q‖)/κ with κ = 0.3/px
    sure_flow    Σ w·‖C(q̂) − C(q)‖ / Σ w,  w = (√(s∥s⊥) / (1 + κ‖q̂‖))^−0.7
    sigma        log s + √2·|e|/s of e∥ and e⊥, the error q − q̂ along q̂ and across it
    depth        |log Ẑ − log Z|
    depth_sigma  log s_Z + √2·|log Ẑ − log Z|/s_Z

Where something moves by itself, flow says nothing: its own is not the camera's. Sigma learns there from the scene's.

log s + √2·|e|/s is the negative log-likelihood, less log √2, of the Laplace distribution with standard deviation s: its
density is exp(−√2·|e|/s)/(√2·s). It forgives outliers, and is least at s = √2·E|e|. e is detached, so a sigma never
excuses the flow from being right; w is, too.

For the velocity of a frame, x = (v, ω) per exposure with its solved error δ (`velocity.motion_error`), the flow that δ
causes, A·δ, is averaged over the cells and held against the mean blur b:

    velocity, angular, linear, own_depth    log(1 + mean‖A·δ‖ / (1 + κ·b))

with all of δ, its ω, its v, and all of δ when it is solved with Ẑ in place of Z. Of recordings, whose labels are noisy
with standard deviation n, what the noise alone would cause is taken off first: m = mean‖A·δ‖ and its expectation
m₀ = mean √Σ(A·n)² make √(m² + m₀²) − m₀, which is quadratic below m₀ and linear beyond.
"""

from __future__ import annotations

import math

import torch

from image_as_imu_training.networks.blur_network import FARTHEST, KNEE, compress
from image_as_imu_training.training.axial_network import Outputs
from image_as_imu_training.training.data import Batch
from image_as_imu_training.training.velocity import (
    Cells,
    completed,
    flow_of,
    mean_flow,
    motion_error,
    relative_to_blur,
)

Terms = dict[str, torch.Tensor]

VELOCITY_TERMS = ("velocity", "angular", "linear", "own_depth")


def flow_term(flow: torch.Tensor, true_flow: torch.Tensor, static: torch.Tensor) -> torch.Tensor:
    """Average the distance between compressed flows, (B, 2, h, w) px: absolute for short blurs, relative for long ones.

    Over the cells (B, h, w) that are `static`.

    (An error divided by 1 + 0.3 ‖q‖ is much the same for small errors, but large ones draw every guess to zero.)
    """
    return _mean((compress(flow) - compress(true_flow)).norm(dim=1), static)


def sure_flow_term(
    flow: torch.Tensor, sigma: torch.Tensor, true_flow: torch.Tensor, static: torch.Tensor
) -> torch.Tensor:
    """Average as `flow_term`, where cells that are surer weigh more: those are what the solver goes by.

    A cell weighs σ^−0.7, relative to the batch's mean, with σ the geometric mean of its sigmas (B, 2, h, w) in
    compressed px. The weights are constants. For networks that predict a sensible sigma.
    """
    compressed_sigma = sigma.prod(1).sqrt() / (1 + KNEE * flow.norm(dim=1))
    weight = compressed_sigma.detach().clamp(0.05, 20) ** -0.7 * static
    return (weight * (compress(flow) - compress(true_flow)).norm(dim=1)).mean() / weight.mean().clamp(min=1e-6)


def sigma_term(flow: torch.Tensor, sigma: torch.Tensor, true_flow: torch.Tensor) -> torch.Tensor:
    """Measure how unlikely the errors of q along itself and across are, by the sigmas (B, 2, h, w) px of these."""
    flow = flow.detach()
    error = true_flow - flow
    unit = flow / flow.norm(dim=1, keepdim=True).clamp(min=1e-6)
    along = (error * unit).sum(1)
    across = unit[:, 0] * error[:, 1] - unit[:, 1] * error[:, 0]
    return _unlikelihood(torch.stack([along, across], 1), sigma).mean()


def depth_term(depth: torch.Tensor, true_depth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Average |log Ẑ − log Z| over the `known` cells, all (B, 1, h, w)."""
    return _mean(_log_ratio(depth, true_depth, known).abs(), known)


def depth_sigma_term(
    depth: torch.Tensor, depth_sigma: torch.Tensor, true_depth: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Measure how unlikely log Ẑ − log Z is by its sigma, over the `known` cells, all (B, 1, h, w); as `sigma_term`."""
    return _mean(_unlikelihood(_log_ratio(depth.detach(), true_depth, known), depth_sigma), known)


def rendered_terms(outputs: Outputs, batch: Batch, *, velocity: bool) -> Terms:
    """Compute the terms of rendered samples; those named after velocities only if asked for.

    - flow, sure_flow, sigma, depth, depth_sigma: see the functions above.
    - velocity: flow that the velocity's error causes, solved with the true depth. angular, linear: the same for ω and
      for v alone, whose errors make up for each other where a translation is taken for a rotation.
    - own_depth: flow that the velocity's error causes when it is solved with the network's depth.

    Args:
        batch: flow, depth, moving, depth_known, matrix and motion as `RenderedSamples` has them.
    """
    flow, sigma, depth, depth_sigma = outputs
    static = ~batch["moving"]
    depth_known = batch["depth_known"][:, None, None, None] & batch["depth"].isfinite()
    terms = {
        "flow": flow_term(flow, batch["flow"], static),
        "sure_flow": sure_flow_term(flow, sigma, batch["flow"], static),
        "sigma": sigma_term(flow, sigma, batch["flow"]),
        "depth": depth_term(depth, batch["depth"], depth_known),
        "depth_sigma": depth_sigma_term(depth, depth_sigma, batch["depth"], depth_known),
    }
    if velocity:
        explained = batch["motion"].isfinite().all(1)
        motion = torch.where(explained[:, None], batch["motion"], 0).double()
        true = Cells.of(flow, sigma, batch["matrix"], batch["depth"])
        true_flow = flow_of(true.matrix, motion)
        blur = mean_flow(true.matrix, motion, true.usable)
        error = motion_error(true, true_flow, motion)
        own = Cells.of(flow, sigma, batch["matrix"], torch.where(batch["depth"].isfinite(), depth, torch.nan))
        own_error = motion_error(own, true_flow, motion)
        telling = explained & batch["depth_known"]

        def caused(error: torch.Tensor, part: slice, judged: torch.Tensor) -> torch.Tensor:
            flow = mean_flow(true.matrix[:, :, part], error[:, part], true.usable)
            return _mean(relative_to_blur(flow, blur), judged)

        terms |= {
            "velocity": caused(error, slice(0, 6), explained),
            "angular": caused(error, slice(3, 6), explained),
            "linear": caused(error, slice(0, 3), explained),
            "own_depth": caused(own_error, slice(0, 6), telling),
        }
    return terms


def recording_terms(outputs: Outputs, batch: Batch) -> Terms:
    """Compute the terms of labelled frames of recordings.

    - velocity: flow that the velocity's error causes, beyond what the label's own noise would; solved with the
      network's depth. angular: the same for ω alone. A v that is not known is solved for but not judged.

    Args:
        batch: matrix, motion and noise as `LabelledFrames` has them.
    """
    flow, sigma, depth, _ = outputs
    cells = Cells.of(flow, sigma, batch["matrix"], depth)
    about = completed(cells, batch["motion"])
    matrix = cells.matrix.detach()
    true_flow = flow_of(matrix, about)
    label = batch["motion"].double()
    error = (about + motion_error(cells, true_flow, about) - label).where(label.isfinite(), 0)
    noise = batch["noise"].double().where(label.isfinite(), 0)
    blur = mean_flow(matrix, about, cells.usable)

    def beyond_noise(part: slice) -> torch.Tensor:
        found = mean_flow(matrix[:, :, part], error[:, part], cells.usable)
        expected = torch.einsum("bkphw,bp->bhw", matrix[:, :, part].square(), noise[:, part].square()).sqrt()
        expected = expected.sum((1, 2)) / cells.usable.sum((1, 2)).clamp(min=1)
        beyond = (found.square() + expected.square() + 1e-12).sqrt() - expected
        return relative_to_blur(beyond, blur).mean()

    return {"velocity": beyond_noise(slice(0, 6)), "angular": beyond_noise(slice(3, 6))}


def _unlikelihood(residual: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Return −log p of residuals, less a constant, under Laplace distributions of standard deviation `sigma`."""
    return sigma.log() + math.sqrt(2) * residual.abs() / sigma


def _log_ratio(depth: torch.Tensor, true_depth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Compute log Ẑ − log Z where Z is known, (B, 1, h, w); what is beyond FARTHEST need not be seen farther."""
    return depth.log() - torch.where(known, true_depth, 1.0).clamp(max=FARTHEST).log()


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Average the chosen ones of values of the same shape; zero if there are none."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)

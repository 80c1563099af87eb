"""Differentiable velocity: how far off the solver's answer is, as a smooth function of what the network predicts.

The runtime's solver (`estimation.blur_solver`) searches the motion over the exposure x = τ·(v, ω) that minimises
Σ w·‖q̂ − q(Â·x)‖², where q̂ is the predicted axial flow, Â the motion field matrix with the depth that is at hand, and w
follows from the predicted sigma and, robustly, from the residual. Training must know how its answer x̂ depends on the
prediction. Differentiating through its search for signs is neither possible nor needed: near a good answer, x̂ is one
linear step away.

**About the true flow.** Let f = A·x be the true flow of a cell (true depth, true motion, with its sign) and Dq(f) the
derivative of q there. Along f, q grows as the flow does; across it, q rotates by twice the angle:

    Dq(f)·g = (c·g₁ + s·g₂) along q + 2·(c·g₂ − s·g₁) across q,    (c, s) = f / ‖f‖

q is homogeneous of degree one, so Dq(f)·f = q(f), and to first order q(Â·x) = Dq(f)·Â·x for every x whose flow is
near f. The minimum is then a linear least-squares solution. With J = Dq(f)·Â and W = diag(w), its error δ = x̂ − x is

    δ = (JᵀWJ + P)⁻¹ · JᵀW · (q̂ − J·x)

With the true depth, J·x = q(f), and δ is one Gauss–Newton step from the true x. With a predicted depth Â differs from A
while f does not. If only the scale of the depth is wrong, Ẑ = k·Z, the solution is exact however large k is: Â·x̂ = f
for x̂ = (k·v, ω), as the runtime finds. (Linearising at Â·x instead would get the streaks of
mixed motions wrong.) Reversing the motion reverses f, J and δ: the sign of a label is free.

**What does not enter.** P only keeps frames solvable that say too little. It is centred on the true x and scales with
the information in the frame. The sigmas only weigh, they are constants here: a network that may choose them to make δ
small calls a few cells sure and all others unsure, until P alone, which knows x, answers. Cells that hardly move lose
their weight, for q has a cone's tip at zero and no derivative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from image_as_imu_ros.estimation.constants import SHARED
from image_as_imu_training.networks.blur_network import KNEE

_REWEIGHTINGS = 2
_COMPLETING_STEPS = 5
_SHORTEST_PX = 0.5  # cells with shorter true flow lose their weight
_PRIOR = 1e-4  # of the information about an unknown that moves every cell


@dataclass(frozen=True)
class Cells:
    """What the cells of B frames tell the solver.

    Attributes:
        axial_flow: (B, 2, h, w) predicted q, px.
        sigma: (B, 2, h, w) predicted standard deviation of q along itself and across, px; constants, see the module.
        matrix: (B, 2, 6, h, w) Â, px per unit of motion (v, ω), zero where unusable.
        usable: (B, h, w) bool.
    """

    axial_flow: torch.Tensor
    sigma: torch.Tensor
    matrix: torch.Tensor
    usable: torch.Tensor

    @classmethod
    def of(cls, axial_flow: torch.Tensor, sigma: torch.Tensor, rays: torch.Tensor, depth: torch.Tensor) -> Cells:
        """Prepare cells with depth (B, 1, h, w) m; those without a depth, a ray or a prediction cannot be used.

        Args:
            sigma: (B, 2, h, w) px, along q and across it.
            rays: (B, 2, 6, h, w) motion field matrix for a depth of 1 m. See `MotionFieldMatrix`.
        """
        usable = axial_flow.isfinite().all(1) & rays.isfinite().all((1, 2)) & (depth[:, 0] > 0) & depth[:, 0].isfinite()
        known = usable[:, None]
        matrix = torch.where(known[:, None], rays, 0).double()
        inverse_depth = 1 / torch.where(known, depth, 1).double()
        matrix = torch.cat([matrix[:, :, :3] * inverse_depth[:, None], matrix[:, :, 3:]], 2)
        sigma = torch.where(known, sigma.detach(), 1)
        return cls(torch.where(known, axial_flow, 0).double(), sigma.double(), matrix, usable)


def flow_of(matrix: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Compute the flow (B, 2, h, w) px of motions (B, P), given their matrix (B, 2, P, h, w)."""
    return torch.einsum("bkphw,bp->bkhw", matrix, motion)


def motion_error(cells: Cells, flow: torch.Tensor, motion: torch.Tensor, unknowns: int = 6) -> torch.Tensor:
    """Compute δ = x̂ − x (B, unknowns), to first order: see the module.

    Args:
        flow: (B, 2, h, w) true signed flow f, px, about which q is linearised.
        motion: (B, 6) true motion x = (v, ω) per exposure.
        unknowns: 6, or 3 to solve for v alone.
    """
    with torch.autocast(flow.device.type, enabled=False):
        flow = flow.double()
        length = flow.norm(dim=1)
        cos, sin = (flow / length.clamp(min=1e-9)[:, None]).unbind(1)
        cos2, sin2 = cos * cos - sin * sin, 2 * cos * sin
        u, v = cells.matrix.unbind(1)
        rows = torch.stack([cos[:, None] * u + sin[:, None] * v, 2 * (cos[:, None] * v - sin[:, None] * u)], 1)
        q1, q2 = cells.axial_flow.unbind(1)
        measured = torch.stack([cos2 * q1 + sin2 * q2, cos2 * q2 - sin2 * q1], 1)
        error = measured - flow_of(rows, motion.double())
        rows = rows[:, :, :unknowns]

        # Unknowns are measured in px that they move the cells by: metres and radians may differ by orders of magnitude.
        count = cells.usable.sum((1, 2)).clamp(min=1)
        # The median cell's: a few cells with a predicted depth of almost nothing must not make P, which knows x, large.
        squared_px = cells.matrix[:, :, :unknowns].square().sum(1)
        squared_px = torch.where(cells.usable[:, None], squared_px, torch.nan).flatten(2).nanmedian(2).values
        px = squared_px.nan_to_num().clamp(min=1e-18).sqrt()
        rows = rows / px[:, None, :, None, None]
        precision = cells.sigma**-2.0 * cells.usable[:, None]
        precision = precision * (2 * count / precision.sum((1, 2, 3)).clamp(min=1e-12))[:, None, None, None]
        visible = length.square() / (length.square() + _SHORTEST_PX**2)
        prior = _PRIOR * torch.eye(unknowns, dtype=rows.dtype, device=rows.device)

        step = torch.zeros_like(px)
        for _ in range(_REWEIGHTINGS):
            residual = (error - flow_of(rows, step)) / cells.sigma
            weight = precision * (visible * _robust_weight(residual.detach(), cells.usable))[:, None]
            weighted = weight[:, :, None] * rows
            information = torch.einsum("bkphw,bkqhw->bpq", weighted, rows) / count[:, None, None]
            gradient = torch.einsum("bkphw,bkhw->bp", weighted, error) / count[:, None]
            # Positive definite. `solve` would have a GPU finish to see whether it is.
            step = torch.linalg.solve_ex(information + prior, gradient).result
        return step / px


def _robust_weight(residual: torch.Tensor, usable: torch.Tensor) -> torch.Tensor:
    """Weigh (B, 2, h, w) residuals in units of their sigma as the runtime's solver does: (B, h, w).

    One inside a limit and falling outside it. The limit widens while the 30 % quantile says that the fit is poor.
    """
    squared = residual.square().sum(1)
    ascending = torch.where(usable, squared, torch.inf).flatten(1).sort(1).values
    rank = (0.3 * usable.sum((1, 2), keepdim=True).flatten(1)).long().clamp(max=ascending.shape[1] - 1)
    quantile = ascending.gather(1, rank).nan_to_num(posinf=0)[:, :, None]
    limit = SHARED.inlier_sigmas**2 * (quantile / 0.7133).clamp(min=1)  # −2 ln 0.7, the quantile of a good fit
    return (limit / torch.maximum(squared, limit)).square()


@torch.no_grad()
def completed(cells: Cells, motion: torch.Tensor) -> torch.Tensor:
    """Find motions (B, 6) whose v, given the labelled ω, explains the predicted field best.

    About these the field is linearised where v is not known, or where the depth has no known scale to hold v against.
    Starts from the labelled v, or from zero where that is NaN.
    """
    motion = motion.double().nan_to_num()
    for _ in range(_COMPLETING_STEPS):
        step = motion_error(cells, flow_of(cells.matrix, motion), motion, unknowns=3)
        motion = torch.cat([motion[:, :3] + step, motion[:, 3:]], 1)
    return motion


def mean_flow(matrix: torch.Tensor, motion: torch.Tensor, usable: torch.Tensor) -> torch.Tensor:
    """Average the length of the flow that motions (B, P) cause, px: (B,)."""
    return flow_of(matrix, motion).norm(dim=1).sum((1, 2)) / usable.sum((1, 2)).clamp(min=1)


def relative_to_blur(error: torch.Tensor, blur: torch.Tensor) -> torch.Tensor:
    """Relate errors (B,) px to the frames' mean blur (B,) px, as a loss (B,).

    Absolute for short blurs and relative for long ones, logarithmic where the error exceeds either: a frame that is
    read wrongly altogether does not outweigh all others.
    """
    return torch.log1p(error / (1 + KNEE * blur))

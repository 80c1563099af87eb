"""Training: the differentiable solver, exact resuming, and all stages in a row from rendering to evaluation."""

import dataclasses
import json
import re
import shlex
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import replay_bags as bags
from fields import COLUMNS, ROWS, STRIDE, camera, field_of, matrix_of, rough_depth, up_to_sign

torch = pytest.importorskip("torch", reason="the training module needs torch")

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.engine.model_info import METADATA_KEY
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.blur_solver import Uncertainty, solve
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.geometry.view import View
from image_as_imu_ros.resources import cache_path, resource
from image_as_imu_training.__main__ import _parser, main
from image_as_imu_training.augmentation import Symmetry
from image_as_imu_training.checkpoint import Checkpoint, load_network
from image_as_imu_training.datasets import shards
from image_as_imu_training.datasets.invented_motion import render_invented_motion
from image_as_imu_training.datasets.photos import Photos
from image_as_imu_training.datasets.rgbd_textures import RgbdTextures
from image_as_imu_training.networks.blur_network import DEPTH_FROM, compress
from image_as_imu_training.rendering.motion import axial_from_signed
from image_as_imu_training.training import recordings
from image_as_imu_training.training.data import RenderedSamples, motion_field_matrix
from image_as_imu_training.training.losses import (
    VELOCITY_TERMS,
    depth_sigma_term,
    flow_term,
    recording_terms,
    rendered_terms,
    sigma_term,
    sure_flow_term,
)
from image_as_imu_training.training.next_commands import next_commands
from image_as_imu_training.training.recordings import LabelledFrames, label_noise
from image_as_imu_training.training.settings import read_settings
from image_as_imu_training.training.velocity import Cells, completed, flow_of, mean_flow, motion_error

EXPOSURE = 0.01
MOTION = np.array([0.02, -0.03, 0.01, 0.03, -0.05, 0.04])  # (v, ω) over the exposure, m and rad


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))[None]


class TestVelocityError:
    """`motion_error` against the runtime's solver, which looks at every third row and column of these fields."""

    rays = motion_field_matrix(camera(200.0), STRIDE)
    matrix = matrix_of(camera(200.0))
    thin = np.s_[..., 1::3, 1::3]

    def cells(self, field: NetworkOutput, depth: np.ndarray) -> Cells:
        parts = (field.axial_flow, field.sigma, self.rays, depth[None])
        return Cells.of(*(tensor(part[self.thin]) for part in parts))

    def solved(self, field: NetworkOutput) -> np.ndarray:
        """(6,) error of the runtime's solver over the exposure."""
        solution = solve(field, self.matrix, EXPOSURE, uncertainty=Uncertainty(Travel(1e4, 0.0)))
        return up_to_sign(EXPOSURE * solution.velocity.vector, MOTION) - MOTION

    def wrong_field(self, rng, depth, noise=0.1) -> NetworkOutput:
        """As networks err: neighbours share errors of length and direction, of 3 % and 2°, besides their own noise."""
        flow = field_of(self.matrix, MOTION / EXPOSURE, EXPOSURE, depth).axial_flow
        wave = [np.sin(np.linspace(*rng.uniform(-4, 4, 2), ROWS))[:, None] * np.ones(COLUMNS) for _ in range(2)]
        length, angle = 1 + 0.03 * wave[0], np.radians(4) * wave[1]
        rotated = np.stack(
            [np.cos(angle) * flow[0] - np.sin(angle) * flow[1], np.sin(angle) * flow[0] + np.cos(angle) * flow[1]]
        )
        axial = length * rotated + noise * rng.normal(size=flow.shape)
        left = np.arange(COLUMNS) < COLUMNS // 2
        sigma = np.stack([np.where(left, 0.5, 1.0), np.where(left, 0.4, 0.8)])[:, None] * np.ones((ROWS, 1))
        return NetworkOutput(axial, sigma, depth, np.zeros_like(depth), STRIDE)

    def error(self, field: NetworkOutput, true_depth: np.ndarray) -> np.ndarray:
        flow = flow_of(self.cells(field, true_depth).matrix, tensor(MOTION))
        return motion_error(self.cells(field, field.depth), flow, tensor(MOTION))[0].numpy()

    @pytest.mark.parametrize("seed", range(5))
    def test_wrong_fields_move_it_as_they_move_the_solver(self, seed):
        rng = np.random.default_rng(seed)
        depth = rough_depth(rng)
        field = self.wrong_field(rng, depth)
        expected = self.solved(field)
        np.testing.assert_allclose(self.error(field, depth), expected, atol=0.1 * np.abs(expected).max())

    def test_outliers_are_forgotten_as_by_the_solver(self):
        rng = np.random.default_rng(0)
        depth = rough_depth(rng)
        field = self.wrong_field(rng, depth)
        outlier = rng.random((ROWS, COLUMNS)) < 0.2
        field.axial_flow[:, outlier] = rng.normal(0, 20, (2, outlier.sum()))
        expected = self.solved(field)
        np.testing.assert_allclose(self.error(field, depth), expected, atol=0.2 * np.abs(expected).max())

    def test_depths_of_twice_the_scale_double_the_linear_velocity_exactly(self):
        depth = rough_depth(np.random.default_rng(0))
        exact = field_of(self.matrix, MOTION / EXPOSURE, EXPOSURE, depth)
        doubled = dataclasses.replace(exact, depth=2 * depth)
        np.testing.assert_allclose(self.error(doubled, depth), [*MOTION[:3], 0, 0, 0], atol=1e-4)
        np.testing.assert_allclose(self.solved(doubled), [*MOTION[:3], 0, 0, 0], atol=1e-4)

    def test_the_sign_of_the_label_and_the_unit_of_the_sigma_do_not_matter(self):
        rng = np.random.default_rng(0)
        depth = rough_depth(rng)
        cells = self.cells(self.wrong_field(rng, depth), depth)
        flow = flow_of(cells.matrix, tensor(MOTION))
        error = motion_error(cells, flow, tensor(MOTION))
        torch.testing.assert_close(motion_error(cells, -flow, -tensor(MOTION)), -error)
        once, twice = (
            motion_error(dataclasses.replace(cells, sigma=unit * cells.sigma), flow, tensor(MOTION))
            for unit in (5, 10)  # so large that no cell is an outlier
        )
        torch.testing.assert_close(once, twice)

    def test_false_near_cells_do_not_make_the_answer_right(self):
        """A prior that scaled with them would answer with the truth; a network learned to draw them at the border."""
        rng = np.random.default_rng(0)
        depth = rough_depth(rng)
        field = self.wrong_field(rng, depth)
        shrunk = depth.copy()
        shrunk[:2], shrunk[-2:] = 0.003, 0.003
        bordered = self.error(dataclasses.replace(field, depth=shrunk), depth)
        assert np.linalg.norm(bordered[:3]) > 0.5 * np.linalg.norm(self.error(field, depth)[:3])

    def test_derivatives_are_those_of_finite_differences(self):
        """Where no cell is an outlier, for robust weights count as constants."""
        rng = np.random.default_rng(0)
        depth = rough_depth(rng)
        field = self.wrong_field(rng, depth)
        few = np.s_[..., 4::14, 4::14]
        rays = tensor(self.rays[few])
        sigma = tensor(5 * field.sigma[few])
        parts = [tensor(part[few]).requires_grad_() for part in (field.axial_flow, depth[None])]
        flow = flow_of(Cells.of(parts[0], sigma, rays, parts[1]).matrix, tensor(MOTION)).detach()

        def error(axial_flow, own_depth):
            return motion_error(Cells.of(axial_flow, sigma, rays, own_depth), flow, tensor(MOTION))

        assert torch.autograd.gradcheck(error, parts)

    def test_sigmas_learn_nothing_from_it(self):
        """They would learn to be sure of too few cells for a solution, which then is the prior's: the truth."""
        depth = np.full((ROWS, COLUMNS), 2.0)
        field = self.wrong_field(np.random.default_rng(0), depth)
        axial_flow = tensor(field.axial_flow).requires_grad_()
        sigma = tensor(field.sigma).requires_grad_()
        cells = Cells.of(axial_flow, sigma, tensor(self.rays), tensor(depth[None]))
        motion_error(cells, flow_of(cells.matrix, tensor(MOTION)), tensor(MOTION)).square().sum().backward()
        assert axial_flow.grad.abs().sum() > 0
        assert sigma.grad is None

    def test_frames_of_a_batch_do_not_know_of_each_other(self):
        rng = np.random.default_rng(0)
        depths = [rough_depth(rng) for _ in range(3)]
        each = [self.cells(self.wrong_field(rng, depth), depth) for depth in depths]
        batch = Cells(
            *(torch.cat([getattr(cells, field.name) for cells in each]) for field in dataclasses.fields(Cells))
        )
        motions = torch.cat([scale * tensor(MOTION) for scale in (1.0, 0.1, 3.0)])
        together = motion_error(batch, flow_of(batch.matrix, motions), motions)
        for cells, motion, error in zip(each, motions[:, None], together, strict=True):
            torch.testing.assert_close(motion_error(cells, flow_of(cells.matrix, motion), motion)[0], error)

    def test_cells_without_depth_ray_or_prediction_say_nothing(self):
        rng = np.random.default_rng(0)
        depth = rough_depth(rng)
        field = self.wrong_field(rng, depth)
        cells = self.cells(field, depth)
        half = Cells(*(getattr(cells, part.name)[..., 14:] for part in dataclasses.fields(Cells)))
        expected = motion_error(half, flow_of(half.matrix, tensor(MOTION)), tensor(MOTION))
        for spoilt in ("depth", "axial_flow"):
            values = getattr(field, spoilt).copy()
            values[..., :42] = np.nan
            cells = self.cells(dataclasses.replace(field, **{spoilt: values}), values if spoilt == "depth" else depth)
            error = motion_error(cells, flow_of(cells.matrix, tensor(MOTION)), tensor(MOTION))
            torch.testing.assert_close(error, expected)

    def test_a_frame_without_any_usable_cell_gives_no_error_and_no_gradient(self):
        axial = torch.ones(1, 2, 4, 4, requires_grad=True)
        unknown = torch.full((1, 1, 4, 4), torch.nan)
        cells = Cells.of(axial, torch.ones(1, 2, 4, 4), torch.ones(1, 2, 6, 4, 4), unknown)
        error = motion_error(cells, torch.zeros(1, 2, 4, 4), torch.zeros(1, 6))
        mean_flow(cells.matrix, error, cells.usable).sum().backward()
        assert not error.any()
        assert not axial.grad.any()

    @pytest.mark.parametrize("known", [MOTION[:3] * 1.5, np.full(3, np.nan)], ids=["wrong scale", "unknown"])
    def test_a_linear_velocity_that_is_not_known_is_found_from_the_field(self, known):
        depth = rough_depth(np.random.default_rng(0))
        cells = self.cells(field_of(self.matrix, MOTION / EXPOSURE, EXPOSURE, depth), depth)
        found = completed(cells, tensor(np.concatenate([known, MOTION[3:]])))
        np.testing.assert_allclose(found[0].numpy(), MOTION, atol=1e-5)

    def test_descending_on_it_makes_the_solver_more_exact(self):
        rng = np.random.default_rng(0)
        depth = rough_depth(rng)
        field = self.wrong_field(rng, depth)
        axial = tensor(field.axial_flow).clone().requires_grad_()
        sigma, rays = tensor(field.sigma), tensor(self.rays)
        optimizer = torch.optim.Adam([axial], lr=0.1)
        for _ in range(20):
            cells = Cells.of(axial, sigma, rays, tensor(depth[None]))
            error = motion_error(cells, flow_of(cells.matrix, tensor(MOTION)), tensor(MOTION))
            optimizer.zero_grad()
            mean_flow(cells.matrix, error, cells.usable).sum().backward()
            optimizer.step()
        better = dataclasses.replace(field, axial_flow=axial.detach()[0].numpy())
        assert np.linalg.norm(self.solved(better)) < 0.5 * np.linalg.norm(self.solved(field))


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_the_same_motion_causes_the_transformed_field_through_the_transformed_matrix(mirror, flip, transpose):
    symmetry = Symmetry(mirror, flip, transpose)
    matrix = tensor(motion_field_matrix(camera(150.0, cx=100.0), STRIDE))
    motion = tensor(MOTION.astype(np.float32))
    transformed = axial_from_signed(flow_of(symmetry.matrix(matrix), motion))
    torch.testing.assert_close(transformed, symmetry.axial(axial_from_signed(flow_of(matrix, motion))))


def test_terms_of_flow_and_depth_are_distances_and_those_of_sigmas_are_likelihoods():
    torch.manual_seed(0)
    flow, true_flow = 10 * torch.randn(2, 2, 3, 4, 4).abs()[:, :, 0], 10 * torch.randn(2, 2, 4, 4)
    flow[:, 1] = 0  # along the first component, across is the second
    sigma = torch.rand(2, 2, 4, 4) + 0.5
    depth, true_depth, depth_sigma = torch.rand(3, 2, 1, 4, 4) + 0.5
    batch = {"flow": true_flow, "depth": true_depth, "depth_known": torch.tensor([True, False])}
    batch["moving"] = torch.zeros(2, 4, 4, dtype=torch.bool)
    terms = rendered_terms((flow, sigma, depth, depth_sigma), batch, velocity=False)
    assert terms["flow"] == pytest.approx(float((compress(flow) - compress(true_flow)).norm(dim=1).mean()))
    likelihood = sigma.log() + np.sqrt(2) * (flow - true_flow).abs() / sigma
    assert terms["sigma"] == pytest.approx(float(likelihood.mean()))
    log_ratio = (depth[0] / true_depth[0]).log().abs()
    assert terms["depth"] == pytest.approx(float(log_ratio.mean()))
    likelihood = depth_sigma[0].log() + np.sqrt(2) * log_ratio / depth_sigma[0]
    assert terms["depth_sigma"] == pytest.approx(float(likelihood.mean()))


def test_where_something_moves_by_itself_sigma_learns_and_flow_does_not():
    torch.manual_seed(0)
    flow, sigma = torch.randn(2, 2, 4, 4).requires_grad_(), (torch.rand(2, 2, 4, 4) + 0.5).requires_grad_()
    depth, moving = torch.ones(2, 1, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool)
    moving[:, :2] = True
    batch = {"flow": torch.randn(2, 2, 4, 4), "depth": depth, "depth_known": torch.ones(2).bool(), "moving": moving}
    terms = rendered_terms((flow, sigma, depth, depth), batch, velocity=False)
    (terms["flow"] + terms["sure_flow"] + terms["sigma"]).backward()
    assert not flow.grad[:, :, :2].any()
    assert flow.grad[:, :, 2:].all()
    assert sigma.grad.all()


def laplace(std: float, *shape: int) -> torch.Tensor:
    return torch.distributions.Laplace(0.0, std / 2**0.5).sample(shape)


def learnt(term, sigma: torch.Tensor) -> torch.Tensor:
    """The spread that a term of the loss leads to."""
    log_sigma = sigma.log().requires_grad_()
    optimizer = torch.optim.Adam([log_sigma], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        term(log_sigma.exp()).backward()
        optimizer.step()
    return log_sigma.exp().detach()


def test_sigmas_are_learnt_along_and_across_whatever_the_orientation_of_the_streaks():
    torch.manual_seed(0)
    angle = 2 * torch.pi * torch.rand(1, 150, 150)
    along, across = laplace(2.0, 1, 150, 150), laplace(0.5, 1, 150, 150)
    cos, sin = angle.cos(), angle.sin()
    flow = 10 * torch.stack([cos, sin], 1)
    true_flow = flow + torch.stack([cos * along - sin * across, sin * along + cos * across], 1)
    found = learnt(lambda sigma: sigma_term(flow, sigma.expand_as(flow), true_flow), torch.ones(1, 2, 1, 1))
    np.testing.assert_allclose(found.flatten(), [2.0, 0.5], rtol=0.03)


def test_the_sigma_of_depth_is_learnt_where_depth_is_known():
    torch.manual_seed(0)
    depth, known = torch.ones(2, 1, 200, 200), torch.tensor([True, False])[:, None, None, None]
    true_depth = torch.where(known, laplace(0.3, 2, 1, 200, 200).exp(), torch.nan)
    found = learnt(
        lambda sigma: depth_sigma_term(depth, sigma.expand_as(depth), true_depth, known.expand_as(depth)),
        torch.ones(1, 1, 1, 1),
    )
    assert float(found) == pytest.approx(0.3, rel=0.02)


def test_a_sigma_does_not_excuse_the_flow_or_depth_from_being_right():
    flow = torch.ones(1, 2, 4, 4, requires_grad=True)
    depth = torch.ones(1, 1, 4, 4, requires_grad=True)
    everywhere = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    sigma, depth_sigma = torch.ones(1, 2, 4, 4, requires_grad=True), torch.ones(1, 1, 4, 4, requires_grad=True)
    of_flow = sigma_term(flow, sigma, 2 * flow.detach())
    of_depth = depth_sigma_term(depth, depth_sigma, 2 * depth.detach(), everywhere)
    (of_flow + of_depth).backward()
    assert flow.grad is None
    assert depth.grad is None
    assert sigma.grad.any()
    assert depth_sigma.grad.any()


def test_surer_cells_weigh_more_in_the_flow_term_and_none_if_all_are_alike():
    error = torch.zeros(1, 2, 1, 2)
    error[0, 0, 0] = torch.tensor([1.0, 3.0])
    zero, static = torch.zeros_like(error), torch.ones(1, 1, 2, dtype=torch.bool)

    def term(left: float, right: float) -> torch.Tensor:
        """Of cells with these spreads along; across, all are alike."""
        return sure_flow_term(error, torch.tensor([[[[left, right]], [[1.0, 1.0]]]]), zero, static)

    alike = float(flow_term(error, zero, static))
    assert term(1.0, 1.0) == pytest.approx(alike, rel=0.2)
    assert term(0.01, 100.0) < 0.75 * alike
    assert term(100.0, 0.01) > 1.1 * alike


def test_terms_about_velocity_vanish_at_the_true_velocity_and_skip_what_is_not_explained():
    torch.manual_seed(0)
    matrix = torch.cat([tensor(motion_field_matrix(camera(150.0), 16))] * 3)
    motion = torch.stack([torch.tensor(MOTION), -2 * torch.tensor(MOTION), torch.full((6,), torch.nan)]).float()
    depth = 1 + torch.rand(3, 1, *matrix.shape[-2:])
    flow = axial_from_signed(
        flow_of(
            Cells.of(*(torch.ones(3, 2, *depth.shape[2:]),) * 2, matrix, depth).matrix, motion.nan_to_num().double()
        )
    ).float()
    batch = {
        "flow": flow,
        "depth": depth,
        "moving": torch.zeros_like(depth[:, 0], dtype=torch.bool),
        "matrix": matrix,
        "motion": motion,
        "depth_known": torch.tensor([True, False, True]),
    }

    def terms(longer: list[float], deeper: list[float]) -> dict[str, torch.Tensor]:
        """Of the exact outputs, with the flow and the depth of each frame multiplied."""
        factors = (torch.tensor(each)[:, None, None, None] for each in (longer, deeper))
        wrong_flow, wrong_depth = (exact * factor for exact, factor in zip((flow, depth), factors, strict=True))
        outputs = (wrong_flow, torch.ones_like(flow), wrong_depth, torch.ones_like(depth))
        return rendered_terms(outputs, batch, velocity=True)

    assert all(terms([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])[name] < 1e-4 for name in VELOCITY_TERMS)
    assert terms([1.0, 1.0, 1.0], [1.0, 2.0, 2.0])["own_depth"] < 1e-4
    assert terms([1.0, 1.0, 2.0], [1.0, 1.0, 1.0])["velocity"] < 1e-4
    longer = terms([1.0, 2.0, 1.0], [1.0, 1.0, 1.0])
    assert all(longer[name] > 0.1 for name in ("velocity", "angular", "linear"))


class TestTermsOfRecordings:
    matrix = tensor(motion_field_matrix(camera(150.0), 16))
    depth = 1 + torch.rand(1, 1, *matrix.shape[-2:], generator=torch.Generator().manual_seed(0))
    sigma = torch.ones(1, 2, *matrix.shape[-2:])

    def terms(self, motion, label, noise=0.0):
        """Of the exact field of a motion, held against a label."""
        cells = Cells.of(self.matrix[:, :, 0], self.sigma, self.matrix, self.depth)
        flow = axial_from_signed(flow_of(cells.matrix, tensor(motion))).float()
        batch = {"matrix": self.matrix, "motion": tensor(label).float(), "noise": torch.full((1, 6), noise)}
        outputs = (flow, self.sigma, self.depth, torch.ones_like(self.depth))
        return {name: float(term) for name, term in recording_terms(outputs, batch).items()}

    def test_the_true_label_costs_nothing_whatever_its_sign(self):
        unknown = np.r_[np.full(3, np.nan), MOTION[3:]]
        for label in (MOTION, -MOTION, unknown, -unknown):
            assert max(self.terms(MOTION, label).values()) < 1e-3

    def test_a_wrong_rotation_costs_more_than_a_label_as_noisy(self):
        label = MOTION + np.array([0, 0, 0, 0.01, 0, 0])
        assert self.terms(MOTION, label)["angular"] > 0.1
        assert self.terms(MOTION, label, noise=0.03)["angular"] < 0.3 * self.terms(MOTION, label)["angular"]

    def test_a_linear_velocity_is_judged_where_it_is_known(self):
        label = np.r_[2 * MOTION[:3], MOTION[3:]]
        assert self.terms(MOTION, label)["velocity"] > 0.1
        assert self.terms(MOTION, label)["angular"] < 1e-3


class TestLabels:
    def test_noise_of_labels_is_separated_from_motion(self):
        rng = np.random.default_rng(0)
        stamps = np.arange(0, 2_000_000_000, 5_000_000)
        swing = np.sin(2 * np.pi * 3 * stamps * 1e-9)[:, None] * np.array([3.0, 2.0, 1.0])
        ground_truth = GroundTruth(
            stamps, np.full((len(stamps), 3), np.nan), swing + 0.1 * rng.normal(size=swing.shape), ""
        )
        noise = label_noise(ground_truth, 0.02)
        assert np.isnan(noise[:3]).all()
        np.testing.assert_allclose(noise[3:], 0.05, rtol=0.15)  # four samples are averaged

    @pytest.mark.parametrize("ground_truth", ["twist", "imu"])
    def test_frames_get_the_motion_over_their_exposure(self, tmp_path, ground_truth):
        recording = bags.moving_camera(tmp_path / "bag", 4, ground_truth=ground_truth)
        assert main(["label", str(recording), "--exposure", "0.01", "--output", str(tmp_path / "labelled")]) == 0
        frames = LabelledFrames(tmp_path / "labelled", 8)
        assert len(frames) == 4
        expected = bags.EXPOSURE * bags.motion(bags.frame_stamps(4)[2])
        expected[:3] *= np.nan if ground_truth == "imu" else 1
        np.testing.assert_allclose(frames[2]["motion"], expected, atol=1e-4)
        view = View.of(bags.CAMERA, 320, 224).camera
        np.testing.assert_allclose(frames[2]["matrix"], motion_field_matrix(view, 8))
        assert frames[2]["image"].shape == (1, 224, 320)
        assert frames[2]["image"].mean() == pytest.approx(frames[1]["image"].mean() + 4)

    def test_recordings_whose_names_differ_behind_a_dot_are_labelled_apart(self, tmp_path):
        for name in ("run_0.5ms", "run_0.8ms"):
            recording = bags.moving_camera(tmp_path / name, 3)
            assert main(["label", str(recording), "--exposure", "0.01", "--output", str(tmp_path / "labelled")]) == 0
        assert sorted(path.name for path in (tmp_path / "labelled").iterdir()) == ["run_0.5ms", "run_0.8ms"]
        assert len(LabelledFrames(tmp_path / "labelled", 8)) == 6

    def test_the_exposure_is_fitted_on_request(self, tmp_path, monkeypatch):
        recording = bags.moving_camera(tmp_path / "bags" / "bag", 12, ground_truth="imu")
        monkeypatch.setattr(recordings, "load_engine", lambda _: bags.ExactEngine(bags.frame_stamps(12)))
        assert main(["label", str(recording), "--fit-exposure", "--output", str(tmp_path)]) == 0
        about = json.loads((tmp_path / "bag" / "recording.json").read_text())
        assert about["exposure"] == pytest.approx(bags.EXPOSURE, rel=0.01)

    def test_what_cannot_be_labelled_is_said_in_one_line(self, tmp_path, capsys):
        def label(recording, *options):
            return main(["label", str(recording), "--output", str(tmp_path / "out"), *options])

        assert label(tmp_path / "none", "--exposure", "0.01") == 2
        recording = bags.moving_camera(tmp_path / "bag", 3, ground_truth="none")
        assert label(recording, "--exposure", "0.01") == 2
        assert label(recording, "--exposure", "10") == 2
        recording = bags.moving_camera(tmp_path / "told", 3)
        assert label(recording, "--exposure", "0.01") == 0
        assert label(recording, "--exposure", "0.01") == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        for error, part in zip(
            errors, ("does not exist", "no topic that could be", "check the unit", "exists already"), strict=True
        ):
            assert part in error

    def fails(self, recording: Path, capsys, *options: str) -> str:
        """Label in vain: one line, and nothing is left."""
        output = recording.parent / "out"
        assert main(["label", str(recording), "--exposure", "0.01", "--output", str(output), *options]) == 2
        assert not list(output.glob("*"))
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        return line

    def test_what_the_package_published_itself_is_no_truth(self, tmp_path, capsys):
        """Of `ros2 bag record -a`, where the node ran: its twist would be taken before a gyroscope."""
        stamps = bags.frame_stamps(30)
        images = [bags.image_message(stamp, 1) for stamp in stamps]
        halfway = [stamp + bags.FRAME_INTERVAL // 2 for stamp in stamps[:-1]]
        own = [bags.twist_with_covariance(stamp, bags.motion(stamp)) for stamp in halfway]
        topics = {"/camera/image_raw/compressed": images, "/twist": own}
        recording = bags.moving_camera(tmp_path / "bag", 30, ground_truth="imu", **topics)
        assert "'/twist' cannot be learnt from: it has a sample at the time of" in self.fails(recording, capsys)
        options = ["--exposure", "0.01", "--output", str(tmp_path / "out"), "--ground-truth-topic", "/imu"]
        assert main(["label", str(recording), *options]) == 0
        assert "labelled with ω of /imu" in capsys.readouterr().out

    def test_rates_in_degrees_are_no_truth(self, tmp_path, capsys):
        stamps = range(bags.FIRST_STAMP, bags.FIRST_STAMP + 10**9, 10**7)
        rates = [bags.imu(stamp, np.degrees(bags.motion(stamp)[3:])) for stamp in stamps]
        recording = bags.moving_camera(tmp_path / "bag", ground_truth="none", **{"/imu": rates})
        assert "are they °/s?" in self.fails(recording, capsys)

    def test_zeros_are_no_truth(self, tmp_path, capsys):
        """Of an odometry that holds poses alone."""
        odometry = [bags.odometry(bags.FIRST_STAMP + 10**7 * i, np.zeros(6)) for i in range(50)]
        recording = bags.moving_camera(tmp_path / "bag", ground_truth="none", **{"/odom": odometry})
        assert "all of it is zero: is its twist filled in?" in self.fails(recording, capsys)

    def test_images_that_cannot_be_used_are_counted_with_the_reason(self, tmp_path, capsys):
        images = [bags.image_message(stamp, i) for i, stamp in enumerate(bags.frame_stamps(4))]
        for image in images[:3]:
            image.data = image.data[:-20]
        recording = bags.moving_camera(tmp_path / "some", 4, **{"/camera/image_raw/compressed": images})
        assert main(["label", str(recording), "--exposure", "0.01", "--output", str(tmp_path / "labelled")]) == 0
        assert "3 frames left out: compressed image" in capsys.readouterr().out
        images[3].data = images[3].data[:-20]
        recording = bags.moving_camera(tmp_path / "none", 4, **{"/camera/image_raw/compressed": images})
        assert "has no frame to label: compressed image" in self.fails(recording, capsys)

    def test_an_output_that_cannot_be_written_to_is_one_line(self, tmp_path, capsys):
        (tmp_path / "file").write_text("")
        recording = bags.moving_camera(tmp_path / "bag", 3)
        assert main(["label", str(recording), "--exposure", "0.01", "--output", str(tmp_path / "file")]) == 2
        assert "file/bag" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--workers", "0"], "--workers: is 0, expected 1 or more"),
        (["--samples", "-1"], "--samples: is -1, expected 0 or more"),
        (["--frames", "-1"], "--frames: is -1, expected 0 or more"),
        (["--device", "gpu"], "--device: 'gpu' cannot be used here"),
    ],
)
def test_amounts_and_devices_that_cannot_be_are_refused_before_rendering(options, complaint, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["render", "--photos", str(tmp_path), "--output", str(tmp_path / "out"), *options])
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["stage=four"], "depth flow recordings refinement velocity"),
        (["stage=velocity"], "init is missing"),
        (["step=3"], "Key 'step' not in"),
        (["weights.flw=3"], "Key 'flw' not in"),
        (["steps=many"], "'many'"),
        (["steps"], "'steps'"),
        (["steps=0"], "at least 1"),
        (["learning_rate=0"], "must be positive"),
        (["minutes=0"], "must be positive, or null"),
        (["weights={flow: 0, sigma: 0, depth: 0, depth_sigma: 0}"], "all weights are 0"),
        (["trains=nothing"], "one of: all, first_guess, refinement, depth"),
        (["network=segnext", "stage=refinement", "init=null"], "this network has none"),
        (["precision=int8"], "one of: no, bf16, fp16"),
        (["log=paper"], "one of: tensorboard, wandb, none"),
        (["data=/nowhere"], "no rendered samples"),
        (["validation.recordings=[{path:/nowhere}]"], "does not exist"),
        (["init=/nowhere"], "no checkpoint in /nowhere"),
        (["window=50"], "multiple of 32"),
        (["seed=-1"], "seed is -1; it must be 0 or more"),
        (["weights.flow=-1"], "weights.flow is -1.0; it must be 0 or more"),
        (["weights.depth=nan"], "weights.depth is nan; it must be 0 or more"),
        (["save_seconds=nan"], "save_seconds is nan; it must be 0 or more"),
        (["validation.recordings=[{path: /nowhere, stamp_reference: first}]"], "one of: start, middle, end"),
    ],
)
def test_settings_that_cannot_be_used_are_one_clear_line(overrides, complaint, rendered, tmp_path, capsys):
    common = [f"data={rendered}", f"checkpoint={tmp_path}", *TINY]
    assert main(["train", *common, *overrides]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("stage", ["flow", "velocity", "refinement", "depth"])
def test_samples_are_looked_for_where_render_writes_them(stage, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = read_settings([f"stage={stage}", "init=some", "checkpoint=some"])
    assert settings.data == str(cache_path("training"))
    assert settings.validation.data.startswith(str(tmp_path))


def test_a_damaged_shard_is_one_clear_line(rendered, tmp_path, capsys):
    shutil.copytree(rendered, tmp_path / "data")
    shard = next((tmp_path / "data" / "train").glob("shard_*.tar"))
    shard.write_bytes(shard.read_bytes()[:5000])
    assert main(["train", f"data={tmp_path / 'data'}", f"checkpoint={tmp_path / 'run'}", "steps=1", *TINY]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert f"shard {shard} is damaged" in errors[0]
    assert "run `render` with the same options" in errors[0]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["stage=flow"], ["train stage=velocity init=runs/it checkpoint=runs/velocity"]),
        (
            ["stage=flow", "data=my samples", "precision=no"],
            ["train stage=velocity init=runs/it checkpoint=runs/velocity 'data=my samples' precision=no"],
        ),
        (["stage=velocity", "init=x"], ["train stage=refinement init=runs/it checkpoint=runs/refinement"]),
        (
            ["stage=velocity", "init=x", "network=segnext"],
            ["validate --checkpoint runs/it", "export --checkpoint runs/it --output runs/it.onnx --version 1"],
        ),
        (
            ["stage=refinement", "init=x", "data=samples"],
            [
                "validate --checkpoint runs/it --data samples",
                "export --checkpoint runs/it --data samples --output runs/it.onnx --version 1",
            ],
        ),
        (
            ["stage=recordings", "init=x", "data=labelled"],
            ["validate --checkpoint runs/it", "export --checkpoint runs/it --output runs/it.onnx --version 1"],
        ),
    ],
)
def test_a_finished_run_says_what_comes_next(overrides, expected):
    printed = next_commands(read_settings(["checkpoint=runs/it", *overrides]))
    assert printed == [f"python -m image_as_imu_training {command}" for command in expected]
    for command in printed:
        options = _parser().parse_args(shlex.split(command)[3:])
        if options.command == "train":
            assert read_settings(options.overrides).init == "runs/it"


def test_without_weights_and_biases_its_log_is_refused(rendered, tmp_path, capsys):
    if find_spec("wandb"):
        pytest.skip("wandb is installed")
    assert main(["train", f"data={rendered}", f"checkpoint={tmp_path}", "log=wandb"]) == 2
    assert "pip install wandb" in capsys.readouterr().err


TINY = ["precision=no", "batch=2", "window=64", "log=none", "validation.data=null"]


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = Checkpoint.load(folder)
    parts = (checkpoint.network, checkpoint.average, checkpoint.optimizer)
    return {f"{number} {name}": tensor for number, part in enumerate(parts) for name, tensor in part.items()}


@pytest.fixture
def one_thread():
    """The order in which several threads add up is not determined."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_an_interrupted_run_continues_to_the_same_bits(rendered, tmp_path, monkeypatch, capsys):
    def train(folder, *overrides):
        return main(["train", f"data={rendered}", f"checkpoint={tmp_path / folder}", "steps=6", *TINY, *overrides])

    assert train("straight") == 0
    read, reads = RenderedSamples.batch, []

    def interrupted(self, indices):
        reads.append(indices)
        if len(reads) == 3:
            signal.raise_signal(signal.SIGTERM)
        return read(self, indices)

    monkeypatch.setattr(RenderedSamples, "batch", interrupted)
    assert train("interrupted") == 128 + signal.SIGTERM
    assert Checkpoint.load(tmp_path / "interrupted").state["step"] == 3
    monkeypatch.setattr(RenderedSamples, "batch", read)
    assert train("interrupted") == 0
    straight, continued = tensors_of(tmp_path / "straight"), tensors_of(tmp_path / "interrupted")
    assert straight.keys() == continued.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, continued[name]), name
    assert train("interrupted", "network=blur", "stage=velocity", "init=x") == 2
    assert "holds a checkpoint of stage 'flow'" in capsys.readouterr().err
    assert train("interrupted", "trains=refinement") == 2
    assert "holds a checkpoint of trains 'first_guess', not of 'refinement'" in capsys.readouterr().err


def test_while_depth_learns_all_other_weights_keep_their_bits(rendered, tmp_path):
    """Also those that share a tensor with depth's: nothing decays."""
    shipped = resource("models/blur_imu_small.safetensors")
    options = ["stage=depth", f"init={shipped}", f"data={rendered}", f"checkpoint={tmp_path}", *TINY]
    assert main(["train", *options, "window=null", "steps=2", "learning_rate=0.1"]) == 0
    before, after = load_network(shipped).state_dict(), Checkpoint.load(tmp_path).network
    for name, weights in before.items():
        same = slice(DEPTH_FROM if name.startswith("head.") else None)
        assert torch.equal(after[name][same], weights[same]) if weights.dim() else after[name] == weights, name
    assert not torch.equal(after["head.weight"][DEPTH_FROM:], before["head.weight"][DEPTH_FROM:])


def test_a_run_that_diverges_stops_and_keeps_its_last_good_checkpoint(rendered, tmp_path, capsys):
    common = [f"data={rendered}", f"checkpoint={tmp_path}", *TINY]
    assert main(["train", *common, "steps=1"]) == 0
    assert main(["train", *common, "steps=3", "learning_rate=1e30"]) == 2
    assert "diverged" in capsys.readouterr().err
    assert Checkpoint.load(tmp_path).state["step"] == 1


class OneFrame:
    """Stands for a folder of RGB-D scenes: a wall 2 m away."""

    def __init__(self, light: torch.Tensor) -> None:
        self.light = light

    def draw(self, count: int, _: torch.Generator) -> RgbdTextures:
        """See `RgbdScenes.draw`."""
        depth = torch.full((count, 1, 336, 448), 0.5)
        texture = self.light.expand(count, 1, -1, -1)
        return RgbdTextures(texture, depth, depth > 0, torch.full((count,), 0.9))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    """A rendered data set: a few crops to train and validate on, and frames to calibrate with."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("rendered")
    photos = Photos([torch.from_numpy(texture(rng, 300, 400)) for _ in range(2)])
    light = torch.from_numpy(texture(rng, 336, 448)).float() / 255
    scenes = OneFrame(light)
    generator = torch.Generator().manual_seed(0)
    for part, size in (
        ("train", (64, 64)),
        ("train_frames", (64, 96)),
        ("validation", (64, 64)),
        ("frames", (224, 320)),
    ):
        (folder / part).mkdir()
        samples = render_invented_motion(photos, scenes, 7, size, generator)
        shards.write(shards.shard_path(folder / part, 0), samples, ["invented"] * 7)
    return folder


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Grey noise of several scales, (height, width) uint8."""
    octaves = [cv2.resize(rng.random((height >> s, width >> s)), (width, height)) for s in range(1, 6)]
    return np.clip(255 * (np.mean(octaves, axis=0) * 3 - 1), 0, 255).astype(np.uint8)


def textured_recording(path: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    images = []
    for number, stamp in enumerate(bags.frame_stamps(count)):
        data = cv2.imencode(".png", texture(rng, bags.CAMERA.height, bags.CAMERA.width))[1].ravel()
        images.append(dataclasses.replace(bags.image_message(stamp, number), data=data))
    return bags.moving_camera(path, count, **{"/camera/image_raw/compressed": images})


def test_rendering_all_stages_export_and_evaluation_work_in_a_row(rendered, tmp_path, capsys):
    """Far too short to learn anything: every part gets what the one before it made."""
    recording, other = (
        textured_recording(tmp_path / "bag", 6),
        bags.moving_camera(tmp_path / "other", 8, ground_truth="imu"),
    )
    stages = {name: tmp_path / name for name in ("flow", "velocity", "refinement", "recordings")}

    def train(stage, *overrides):
        common = (f"stage={stage}", f"checkpoint={stages[stage]}", "steps=2", "batch=2", "precision=no")
        return main(["train", *common, *overrides])

    check = "validation.recordings=[{path: %s, exposure: 0.01}]"
    assert train("flow", f"data={rendered}", "window=64", check % recording, "validation.frames=3") == 0
    assert train("velocity", f"data={rendered}", f"init={stages['flow']}", "log=none") == 0
    before, after = Checkpoint.load(stages["flow"]).average, Checkpoint.load(stages["velocity"]).network
    assert all(torch.equal(after[name], before[name]) for name in before if "running" in name)
    assert all(torch.equal(after[name], before[name]) for name in before if "refinement" in name)
    assert train("refinement", f"data={rendered}", f"init={stages['velocity']}", "log=none") == 0
    before, after = Checkpoint.load(stages["velocity"]).average, Checkpoint.load(stages["refinement"]).network
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith("refinement.") for name in changed)
    output, bars = capsys.readouterr()
    assert f"next: python -m image_as_imu_training train stage=velocity init={stages['flow']} checkpoint=" in output
    assert f"next: python -m image_as_imu_training export --checkpoint {stages['refinement']} --data" in output
    assert re.search(r"loss=\d\S+, step=2\b", bars)
    assert "validate: " in bars
    assert "validation/flow_error" in output
    assert "validation/loss_own_depth" in output
    labelled = tmp_path / "labelled"
    assert main(["label", str(recording), "--exposure", "0.01", "--output", str(labelled)]) == 0
    last = (f"data={labelled}", f"init={stages['refinement']}", "log=none")
    assert train("recordings", *last, check % recording) == 2
    assert "6 of its frames are in" in capsys.readouterr().err
    assert train("recordings", *last, check % other) == 0
    assert "other/all/rmse_angular_x" in capsys.readouterr().out
    assert list((stages["flow"] / "image_as_imu").glob("events*"))
    assert "steps: 2" in (stages["flow"] / "settings.yaml").read_text()

    model = tmp_path / "tiny.onnx"

    def export(*options):
        last = ["--checkpoint", str(stages["recordings"]), "--data", str(rendered)]
        return main(["export", *last, "--output", str(model), "--version", "0.0.1", *options])

    def trained_on():
        session = onnxruntime.InferenceSession(model)
        return json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])["training"]["data"]

    assert export() == 2
    refused = "the network reads nothing: its flow explains 0 % of the variance in 7 held-out frames, and a constant"
    assert refused in capsys.readouterr().err
    assert not model.exists()
    stages["recordings"] = tmp_path / "shipped and two steps more"
    shipped = resource("models/blur_imu_small.safetensors")
    assert train("recordings", f"data={labelled}", f"init={shipped}", "log=none") == 0
    assert export() == 0
    assert trained_on() == "not said (--trained-on)"  # not what the shipped network was
    assert export("--trained-on", "own photographs, CC BY 4.0") == 0
    assert trained_on() == "own photographs, CC BY 4.0"
    assert re.search(r"the network reads blur: its flow explains \d\d % of the variance", capsys.readouterr().out)
    written, exported = load_network(model.with_suffix(".safetensors")), load_network(stages["recordings"])
    torch.testing.assert_close(written.state_dict(), exported.state_dict(), rtol=0, atol=0)
    evaluate = [str(other), "--model", str(model), "--exposure", "0.01", "--output", str(tmp_path / "out")]
    assert command_line.run("evaluate", evaluate) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["frames"] == 8

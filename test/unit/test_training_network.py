"""Augmentations are exact, the network keeps its interface, and the exported file says and does the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training module needs torch")
from safetensors.torch import save_file

from image_as_imu_ros.engine.model_info import METADATA_KEY, ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.axial_flow import axial_from_signed as runtime_axial
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres
from image_as_imu_training.__main__ import main
from image_as_imu_training.augmentation import Symmetry, Zoom, photometric
from image_as_imu_training.calibration import calibrate
from image_as_imu_training.checkpoint import Checkpoint, load_network, read_state
from image_as_imu_training.export import disagreement, export, write_onnx
from image_as_imu_training.metrics import Predictions, figures
from image_as_imu_training.networks import NETWORKS
from image_as_imu_training.networks.blur_network import (
    FARTHEST,
    BlurNetwork,
    LocalSpectrum,
    compress,
    expand,
)
from image_as_imu_training.reliability import depth_reliability, flow_reliability, plot_reliability
from image_as_imu_training.rendering.motion import axial_from_signed, motion_field
from image_as_imu_training.rendering.views import Views
from image_as_imu_training.samples import Samples
from image_as_imu_training.training.data import augmented
from image_as_imu_training.training.losses import depth_term, rendered_terms
from image_as_imu_training.training.train import choose_trained, learning_rate
from image_as_imu_training.validation import validate
from image_as_imu_training.velocity_metrics import correlated_cells, flow_smoothing, velocity_figures

SYMMETRIES = [(m, f, t) for m in (False, True) for f in (False, True) for t in (False, True)]


@pytest.mark.parametrize(("mirror", "flip", "transpose"), SYMMETRIES)
def test_dihedral_symmetry_is_the_motion_field_of_the_transformed_camera(mirror, flip, transpose):
    """Transforming the image = transforming the flow vectors and their places."""
    torch.manual_seed(0)
    flow = torch.randn(1, 2, 6, 6) * 10
    image = torch.rand(1, 1, 24, 24)
    transformed, vectors = image, flow
    for wanted, axis, component in ((mirror, -1, 0), (flip, -2, 1)):
        if wanted:
            transformed, vectors = transformed.flip(axis), vectors.flip(axis).clone()
            vectors[:, component] *= -1
    if transpose:
        transformed, vectors = transformed.mT, vectors.mT.flip(1)
    symmetry = Symmetry(mirror, flip, transpose)
    torch.testing.assert_close(symmetry.image(image), transformed)
    torch.testing.assert_close(symmetry.axial(axial_from_signed(flow)), axial_from_signed(vectors))


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.3, 0.8), (1.0, 1.0)])
def test_zoom_is_the_image_of_a_longer_lens(place):
    """What a part of the frame shows is what a camera with that part's focal length and principal point sees."""
    scale, (left, top) = 1.25, place
    camera = Camera(320, 224, 200.0, 200.0, 159.5, 111.5)
    corner_x, corner_y = left * 320 * (1 - 1 / scale), top * 224 * (1 - 1 / scale)
    longer = Camera(320, 224, 250.0, 250.0, scale * (160 - corner_x) - 0.5, scale * (112 - corner_y) - 0.5)
    motion = np.array([0.02, -0.05, 0.1, 0.05, -0.02, 0.3])
    depth = np.full(28 * 40, 2.0)

    def seen_by(camera):
        matrix = MotionFieldMatrix.at(camera, cell_centres(28, 40, 8))
        both = np.concatenate([matrix.linear, matrix.angular], 2).transpose(1, 2, 0).reshape(1, 2, 6, 28, 40)
        flow = matrix.flow(motion, depth).T.reshape(1, 2, 28, 40)
        return torch.from_numpy(both), axial_from_signed(torch.from_numpy(flow))

    matrix, flow = seen_by(camera)
    expected_matrix, expected_flow = seen_by(longer)
    zoom = Zoom(scale, left, top)
    torch.testing.assert_close(zoom.matrix(matrix), expected_matrix, atol=0.5, rtol=0.015)
    error, length = (zoom.flow(flow) - expected_flow).norm(dim=1), expected_flow.norm(dim=1)
    assert (error < 0.5 + 0.02 * length)[length > 8].all()  # the camera rolls: a point does not move
    ramp = torch.arange(320.0).expand(1, 1, 224, 320)
    centre = zoom.image(ramp)[0, 0, 100, 160]
    assert centre.item() == pytest.approx(corner_x + 160.5 / scale - 0.5, abs=0.01)


def spectrum_of(image):
    """(B, 12 directions, 5 octaves, 4 frequencies, h, w)."""
    return LocalSpectrum()(image)[0].unflatten(1, (5, 12, 4)).transpose(1, 2)


def test_spectrum_rotates_with_the_image():
    """Mirroring sends direction θ to −θ, transposing to 90° − θ: the directions are every 15°."""
    torch.manual_seed(0)
    image = torch.rand(1, 1, 128, 128)
    straight = spectrum_of(image)
    index = torch.arange(12)
    mirrored = spectrum_of(image.flip(-1)).flip(-1)
    torch.testing.assert_close(mirrored, straight[:, -index % 12], atol=2e-2, rtol=0)
    transposed = spectrum_of(image.mT).mT
    torch.testing.assert_close(transposed, straight[:, (6 - index) % 12], atol=2e-2, rtol=0)


def test_spectrum_sees_the_frequency_and_orientation_of_a_wave():
    """A wave of 0.265 cycles per px at 45° is brightest in the first octave at the second frequency, direction 3."""
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    wave = 0.5 + 0.4 * torch.sin(2 * torch.pi * 0.265 * (x + y) / 2**0.5)
    first_octave = spectrum_of(wave[None, None])[0, :, 0, :, 4:-4, 4:-4].mean((2, 3))
    assert divmod(int(first_octave.argmax()), 4) == (3, 1)


def test_photometric_augmentation_stays_in_range():
    image = photometric(torch.rand(4, 1, 32, 32), torch.Generator().manual_seed(0))
    assert image.shape == (4, 1, 32, 32)
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize("size", [(224, 320), (128, 128)])
def test_network_outputs_flow_and_depth_and_their_sigmas_at_stride_8(size):
    height, width = size
    flow, sigma, depth, depth_sigma = BlurNetwork().eval()(torch.rand(2, 1, height, width))
    assert flow.shape == sigma.shape == (2, 2, height // 8, width // 8)
    assert depth.shape == depth_sigma.shape == (2, 1, height // 8, width // 8)
    for positive in (sigma, depth, depth_sigma):
        assert (positive > 0).all()


def test_compressed_flow_expands_to_itself():
    flow = torch.randn(2, 2, 8, 8) * torch.linspace(0.1, 25, 8)
    torch.testing.assert_close(expand(compress(flow)), flow, rtol=1e-3, atol=2e-3)


def test_compression_weighs_errors_absolutely_when_short_and_relatively_when_long():
    def moved_by(length, error):
        flows = torch.tensor([[[length], [0.0]], [[length + error], [0.0]]])
        short, long = compress(flows)[:, 0, 0]
        return (long - short).item()

    assert moved_by(0.2, 0.1) == pytest.approx(0.1, rel=0.1)
    assert moved_by(60.0, 1.0) == pytest.approx(1 / (1 + 0.3 * 60), rel=0.05)


def test_network_is_small():
    assert sum(p.numel() for p in BlurNetwork().parameters()) < 3.5e6


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    network = BlurNetwork((16, 16, 16), (4, 4))
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    image = torch.rand(2, 1, 64, 64)
    flow, depth = torch.randn(2, 2, 8, 8) * 3, torch.full((2, 1, 8, 8), 2.0)
    batch = {"flow": flow, "depth": depth, "depth_known": torch.tensor([False, True])}
    batch["moving"] = torch.zeros_like(depth[:, 0], dtype=torch.bool)
    values = []
    for _ in range(15):
        value = sum(rendered_terms(network(image), batch, velocity=False).values())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.9 * values[0]


def test_depth_learns_alone_and_streaks_stay_as_they_were():
    torch.manual_seed(0)
    network = BlurNetwork((16, 16, 16), (4, 4)).eval()
    choose_trained(network, "depth")
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-2, weight_decay=0)
    image, known = torch.rand(2, 1, 64, 64), torch.ones(2, 1, 8, 8, dtype=torch.bool)
    with torch.no_grad():
        before = network(image)
    for _ in range(20):
        optimizer.zero_grad()
        depth_term(network(image)[2], torch.full((2, 1, 8, 8), 5.0), known).backward()
        optimizer.step()
    flow, sigma, depth, _ = network(image)
    assert torch.equal(flow, before[0])
    assert torch.equal(sigma, before[1])
    assert (depth > 1.1 * before[2]).all()


def test_a_first_guess_learns_without_its_refinement_which_it_keeps():
    torch.manual_seed(0)
    network, image = BlurNetwork((16, 16, 16), (4, 4)).eval(), torch.rand(1, 1, 64, 64)
    torch.nn.init.normal_(network.head.weight)
    torch.nn.init.normal_(network.refinement.shared.bias)
    choose_trained(network, "first_guess")
    guess = network(image)[0]
    assert {name.split(".")[0] for name, p in network.named_parameters() if not p.requires_grad} == {"refinement"}
    choose_trained(network, "refinement")
    assert not torch.allclose(network(image)[0], guess, rtol=0.05)


def test_what_is_beyond_the_networks_farthest_depth_need_not_be_seen_farther():
    far, true = torch.full((1, 1, 2, 2), FARTHEST), torch.full((1, 1, 2, 2), 1e4)
    known = torch.tensor([[[[True, True], [True, False]]]])
    assert depth_term(far, true, known) == pytest.approx(0, abs=1e-6)
    assert depth_term(far / 2, true, known) == pytest.approx(np.log(2), rel=1e-5)


def test_batches_are_mostly_upright():
    depth = torch.linspace(0, 1, 8)[:, None].expand(2, 1, 8, 8)
    batch = {"image": torch.zeros(2, 1, 64, 64), "depth": depth}
    found = [augmented(batch, None, 8, torch.Generator().manual_seed(i)) for i in range(80)]
    upright = [one["depth"][0, 0, -1].mean() > one["depth"][0, 0, 0].mean() + 0.3 for one in found]
    assert 0.7 < np.mean(upright) < 0.98


def test_learning_rate_rises_then_falls_to_zero():
    rates = [learning_rate(progress, 1.0) for progress in (0, 0.03, 0.5, 1)]
    assert rates[0] < rates[2] < rates[1] == 1.0
    assert rates[3] == pytest.approx(0, abs=1e-9)


def samples_of(flow, depth):
    count, _, height, width = flow.shape
    image, camera = np.zeros((count, 8 * height, 8 * width), np.uint8), np.zeros((count, 3), np.float32)
    no_exact_velocity = np.full((count, 6), np.nan, np.float32)
    return Samples(image, flow, depth, np.zeros(depth.shape, bool), camera, no_exact_velocity, np.ones(count, bool))


def test_calibration_finds_what_errors_were_made_of():
    """Known spreads along and across streaks, a length ratio per frame."""
    draw = np.random.default_rng(0)
    sigma = draw.uniform(0.05, 0.3, (300, 2, 20, 30)).astype(np.float32)
    flow = np.zeros((300, 2, 20, 30), np.float16)
    flow[:, 0] = np.exp(draw.uniform(np.log(3), np.log(50), (300, 20, 30)))
    depth = np.ones((300, 20, 30), np.float32)
    frames = samples_of(flow, depth)
    error = sigma * draw.standard_normal(flow.shape) * np.array([2.0, 0.5])[:, None, None]
    result = calibrate(frames, Predictions(flow + error, sigma, depth, depth))
    assert result.sigma_scale == pytest.approx((2, 0.5), rel=0.05)

    stretched = Predictions(1.5 * flow + 0.1 * error, sigma, depth, depth)
    for predicted, true in calibrate(frames, stretched).length_curve:
        assert true == pytest.approx(predicted / 1.5, rel=0.02)

    ratio = np.exp(0.1 * draw.standard_normal((300, 1, 1, 1)))
    result = calibrate(frames, Predictions(ratio * flow + 0.1 * error, sigma, depth, depth))
    assert result.flow_log_std == pytest.approx(0.1, rel=0.2)


def test_frames_of_larger_relative_sigma_share_larger_errors():
    """The length that a frame shares errs by half of its relative sigma."""
    draw = np.random.default_rng(0)
    relative_sigma = np.exp(draw.uniform(np.log(0.05), np.log(0.8), (300, 1, 1, 1)))
    flow = np.zeros((300, 2, 20, 30), np.float16)
    flow[:, 0] = np.exp(draw.uniform(np.log(30), np.log(60), (300, 20, 30)))
    depth = np.ones((300, 20, 30), np.float32)
    sigma = np.repeat(relative_sigma * (flow[:, :1] + 2.0), 2, axis=1)
    ratio = np.exp(0.5 * relative_sigma * draw.standard_normal(relative_sigma.shape))
    predicted = ratio * flow + 0.1 * sigma * draw.standard_normal(flow.shape)
    result = calibrate(samples_of(flow, depth), Predictions(predicted, sigma, depth, depth))
    scale = result.sigma_scale[0]
    assert result.typical_relative_sigma == pytest.approx(scale * np.median(relative_sigma), rel=0.1)
    assert result.flow_log_std / result.typical_relative_sigma == pytest.approx(0.5 / scale, rel=0.2)


def test_calibration_finds_how_far_the_scale_of_depth_is_off():
    """The scale errs by three times what a frame's cells say; scenes unlike the rendered ones are allowed for."""
    draw = np.random.default_rng(0)
    flow = np.full((3000, 2, 2, 3), 4, np.float16)
    depth = draw.uniform(1, 3, (3000, 2, 3)).astype(np.float16)
    sigma = np.exp(draw.normal(np.log(0.2), 0.3, (3000, 1, 1))) * np.ones_like(depth)
    wrong = depth * np.exp(3 * sigma * draw.standard_normal((3000, 1, 1)))
    noise = draw.standard_normal(flow.shape)
    predictions = Predictions(flow + noise, np.ones(flow.shape), wrong, sigma)
    depth[::2, 0, 0] = np.nan  # a hole
    frames = samples_of(flow, depth)
    expected = np.hypot(3, 0.65 / 0.2)
    assert calibrate(frames, predictions).depth_sigma_scale == pytest.approx(expected, rel=0.05)
    frames.depth_known[:2000] = False
    wrong[:2000] = 100
    assert calibrate(frames, predictions).depth_sigma_scale == pytest.approx(expected, rel=0.08)
    frames.depth_known[:] = False
    assert calibrate(frames, predictions).depth_sigma_scale == pytest.approx(0.65 / 0.2, rel=0.05)


def test_figures_of_a_known_error():
    flow = np.zeros((1, 2, 8, 8), np.float16)
    flow[:, 0] = 10  # horizontal streaks of 10 px
    rotated = 9 * np.stack([np.full((1, 8, 8), np.cos(0.2)), np.full((1, 8, 8), np.sin(0.2))], 1)
    ones = np.ones((1, 8, 8), np.float32)
    result = figures(samples_of(flow, 2 * ones), Predictions(rotated, np.ones_like(rotated), ones, ones))
    assert result.orientation_error_deg == pytest.approx(np.degrees(0.1), rel=1e-3)
    assert result.length_error == pytest.approx(0.1, rel=1e-3)
    assert result.flow_error_of_zero == pytest.approx(10)
    assert result.depth_log_error == pytest.approx(np.log(2), rel=1e-3)


def test_figures_are_of_the_surer_half_of_the_cells():
    flow = np.zeros((1, 2, 8, 8), np.float16)
    flow[:, 0] = 10
    predicted, sigma = flow.astype(np.float32), np.ones((1, 2, 8, 8), np.float32)
    predicted[:, 0, 4:], sigma[:, 0, 4:] = 30, 300  # wrong, and said to be unsure
    ones = np.ones((1, 8, 8), np.float32)
    assert figures(samples_of(flow, ones), Predictions(predicted, sigma, ones, ones)).length_error == 0


def test_the_length_that_a_frame_shares_is_that_of_its_surer_cells():
    """Half of the cells, a hundred times surer, tell it; the others are read right, as if the frame shared nothing."""
    draw = np.random.default_rng(0)
    flow = np.zeros((300, 2, 20, 30), np.float16)
    flow[:, 0] = np.exp(draw.uniform(np.log(3), np.log(50), (300, 20, 30)))
    sigma = np.full(flow.shape, 10.0, np.float32)
    sigma[:, :, :10] = 0.1
    ratio = np.exp(0.1 * draw.standard_normal((300, 1, 1, 1)))
    predicted = np.where(sigma < 1, ratio, 1.0) * flow + 0.1 * sigma * draw.standard_normal(flow.shape)
    depth = np.ones((300, 20, 30), np.float32)
    result = calibrate(samples_of(flow, depth), Predictions(predicted, sigma, depth, depth))
    assert result.flow_log_std == pytest.approx(0.1, rel=0.2)


def test_a_zoomed_depth_is_near_or_far_and_what_moves_still_does():
    near_far = torch.ones(1, 1, 8, 12)
    near_far[..., 5:] = 4
    zoom = Zoom(1.3, 0.3, 0.6)
    assert set(zoom.depth(near_far).unique().tolist()) == {1, 4}
    moves = near_far[:, 0] > 1
    torch.testing.assert_close(zoom.mask(moves), zoom.depth(near_far)[:, 0] > 1)


def test_checkpoint_comes_back(tmp_path):
    network, average = BlurNetwork(), BlurNetwork()
    state = {"network": "blur", "step": 3}
    Checkpoint(network.state_dict(), average.state_dict(), {"head.bias.exp_avg": torch.ones(4)}, state).save(tmp_path)
    loaded = Checkpoint.load(tmp_path)
    assert loaded.state == state
    assert loaded.optimizer["head.bias.exp_avg"].tolist() == [1, 1, 1, 1]
    torch.testing.assert_close(loaded.network, dict(network.state_dict()))
    torch.testing.assert_close(dict(load_network(tmp_path).state_dict()), dict(average.state_dict()))


def test_the_shipped_weights_are_those_of_the_shipped_model():
    images = np.random.default_rng(1).integers(0, 256, (1, 224, 320), np.uint8)
    model = Path(__file__).parents[2] / "models" / "blur_imu_small.onnx"
    assert disagreement(load_network(model.with_suffix(".safetensors")), model, images) < 2e-3


def test_a_checkpoint_that_cannot_be_used_says_why(tmp_path):
    with pytest.raises(InputError, match="no checkpoint in"):
        load_network(tmp_path)
    weights = BlurNetwork().state_dict()
    weights["head.bias"] = torch.ones(5)
    del weights["head.weight"]
    Checkpoint({}, weights, {}, {"network": "blur"}).save(tmp_path)
    with pytest.raises(InputError, match=r"does not fit .*head\.weight.*head\.bias"):
        load_network(tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_network(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "checkpoint.safetensors")
    with pytest.raises(InputError, match="does not say what was trained"):
        load_network(tmp_path)
    for state, complaint in (("{", "of which network"), ("{}", "of which network"), ("[]", "of which network")):
        save_file({"a": torch.ones(1)}, tmp_path / "checkpoint.safetensors", {"training": state})
        with pytest.raises(InputError, match=complaint):
            load_network(tmp_path)
    Checkpoint({}, weights, {}, {"network": "of tomorrow"}).save(tmp_path)
    with pytest.raises(InputError, match="is of network 'of tomorrow'; this version knows blur, segnext"):
        load_network(tmp_path)


def test_exported_file_agrees_and_explains_itself(tmp_path):
    onnx = pytest.importorskip("onnx")
    torch.manual_seed(0)
    network = BlurNetwork((16, 16, 16), (4, 4)).eval()
    info = ModelInfo(
        "tiny", "0.0.1", 96, 64, stride=8, sigma_scale=(1.5, 0.7), correlated_cells=40.0, training={"data": "none"}
    )
    write_onnx(network, info, tmp_path / "tiny.onnx")
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 96), np.uint8)
    assert disagreement(network, tmp_path / "tiny.onnx", images) < 1e-3
    properties = {p.key: p.value for p in onnx.load(tmp_path / "tiny.onnx").metadata_props}
    assert ModelInfo.from_json(properties[METADATA_KEY]) == info


@pytest.mark.parametrize(
    ("output", "complaint"), [("own.safetensors", "a name that ends in .onnx"), ("file/own.onnx", "file: ")]
)
def test_what_an_export_cannot_write_is_found_first(tmp_path, capsys, output, complaint):
    """The weights would be written over a model of their name."""
    (tmp_path / "file").write_text("")
    arguments = ["export", "--checkpoint", str(tmp_path), "--output", str(tmp_path / output), "--version", "0"]
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_the_weights_file_of_an_export_says_of_which_network_it_is(tmp_path, monkeypatch):
    """Also of a SegNeXt that was trained here, which `export` reads like any other checkpoint."""
    monkeypatch.setitem(NETWORKS, "segnext", lambda: BlurNetwork((16, 16, 16), (4, 4)))
    monkeypatch.setattr("image_as_imu_training.export.write_onnx", lambda _network, _info, path: path.write_bytes(b""))
    monkeypatch.setattr("image_as_imu_training.export.disagreement", lambda *_: 0.0)
    weights = NETWORKS["segnext"]().state_dict()
    Checkpoint({}, weights, {}, {"network": "segnext"}).save(tmp_path / "run")
    export(None, tmp_path / "run", tmp_path / "own.onnx", "1")
    assert read_state(tmp_path / "own.safetensors") == {"network": "segnext"}
    torch.testing.assert_close(dict(load_network(tmp_path / "own.safetensors").state_dict()), dict(weights))


def test_commands_fail_with_one_clear_line(tmp_path, capsys):
    assert main(["export", "--checkpoint", str(tmp_path / "no.pt"), "--output", "x.onnx", "--version", "0"]) == 2
    assert main(["train", f"data={tmp_path}", f"checkpoint={tmp_path}", "precision=no", "log=none"]) == 2
    error = capsys.readouterr().err
    assert "no checkpoint" in error
    assert "run `render` first" in error


def test_cell_centres_are_the_runtimes():
    """A pure forward motion leaves the principal point at rest: its cell has the smallest flow."""
    views = Views(torch.tensor([100.0]), torch.tensor([[27.5, 19.5]]), torch.zeros(1), 64, 64)
    forward = torch.tensor([[0.0, 0.0, 0.1]])
    flow = motion_field(views, views.cells(), torch.ones(1, 64), torch.zeros(1, 3), forward).norm(dim=1).view(8, 8)
    assert divmod(int(flow.argmin()), 8) == (2, 3)
    assert flow.min() == pytest.approx(0, abs=1e-6)


def frames_that_move(count=8):
    """Frames with exact flow of known velocities, depth known, as `Samples` and perfect `Predictions`."""
    draw = np.random.default_rng(3)
    rows, columns = 10, 14
    matrix = MotionFieldMatrix.at(Camera(112, 80, 100, 100, 55.5, 39.5), cell_centres(rows, columns, 8))
    depth = draw.uniform(1, 3, (count, rows, columns))
    motion = draw.uniform(-0.1, 0.1, (count, 6))
    flow = np.stack([matrix.flow(m, z.ravel()).T.reshape(2, rows, columns) for m, z in zip(motion, depth, strict=True)])
    axial = np.stack([runtime_axial(f) for f in flow]).astype(np.float32)
    samples = samples_of(axial, depth)
    samples.camera[:] = (100, 55.5, 39.5)
    samples.motion[:] = motion
    return samples, Predictions(axial, np.full(axial.shape, 0.3, np.float32), depth, np.full(depth.shape, 0.1))


def test_velocity_figures_of_an_exact_field_are_zero_and_a_wrong_depth_scale_shows_in_v():
    samples, exact = frames_that_move()
    info = ModelInfo("", "", 112, 80, stride=8)
    result = velocity_figures(samples, exact, info)
    assert result.frames == len(samples)
    assert result.orientation_error_deg < 0.5
    assert result.length_error < 0.02
    assert result.own_depth_orientation_error_deg < 0.5
    assert result.own_depth_length_error < 0.02
    assert result.translations > 4
    assert result.with_true_depth < 0.02
    assert result.with_own_depth < 0.02
    twice = replace(exact, depth=2 * exact.depth)
    assert velocity_figures(samples, twice, info).with_own_depth == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("smoothing", [0, 16, 32])
def test_calibration_finds_how_smooth_the_predicted_flow_is(smoothing):
    samples, exact = frames_that_move()
    info = ModelInfo("", "", 112, 80, stride=8)
    matrix = MotionFieldMatrix.at(Camera(112, 80, 100, 100, 55.5, 39.5), cell_centres(10, 14, 8))
    fields = [NetworkOutput(q, s, None, None, 8, smoothing) for q, s in zip(exact.flow, exact.sigma, strict=True)]
    seen = [field.as_smooth(depth) for field, depth in zip(fields, samples.depth, strict=True)]
    flow = [matrix.flow(m, z.ravel()).T.reshape(2, 10, 14) for m, z in zip(samples.motion, seen, strict=True)]
    predicted = replace(exact, flow=np.stack([runtime_axial(f) for f in flow]).astype(np.float32))
    assert flow_smoothing(samples, predicted, info) == smoothing
    samples.depth_known[:] = False
    assert flow_smoothing(samples, predicted, info) == 0


def test_correlated_cells_are_those_that_make_the_covariance_of_the_velocity_right():
    draw = np.random.default_rng(0)
    samples, exact = frames_that_move(80)
    sigmas = {
        "sigma_scale": (1 / 3, 1 / 3),
        "depth_sigma_scale": 0.01,
    }  # standard deviations of 0.1 px, depth is known
    info = ModelInfo("", "", 112, 80, stride=8, **sigmas)

    def cells_of(errors):
        return correlated_cells(samples, replace(exact, flow=exact.flow + 0.1 * errors), info)

    def blocks(side):
        shared = draw.standard_normal((80, 2, -(-10 // side), -(-14 // side)))
        return np.kron(shared, np.ones((side, side)))[:, :, :10, :14]

    assert cells_of(blocks(1)) == pytest.approx(1, rel=0.3)
    # Cells of a block differ in depth, so for v they are not quite one.
    assert 4 / 2.5 < cells_of(blocks(2)) < 4
    assert 16 / 2.5 < cells_of(blocks(4)) < 16
    samples.motion[:] = np.nan
    assert cells_of(blocks(1)) is None


def test_reliability_lies_on_the_diagonal_where_errors_are_as_predicted(tmp_path):
    draw = np.random.default_rng(0)
    samples, exact = frames_that_move(200)
    sigma = draw.uniform(0.05, 1, exact.sigma.shape) * np.array([1, 0.2])[:, None, None]
    angle = np.arctan2(exact.flow[:, 1], exact.flow[:, 0])
    along, across = (sigma * draw.standard_normal(sigma.shape)).swapaxes(0, 1)
    cos, sin = np.cos(angle), np.sin(angle)
    noise = np.stack([cos * along - sin * across, sin * along + cos * across], 1)
    depth_sigma = draw.uniform(0.05, 0.5, exact.depth.shape)
    depth = exact.depth * np.exp(depth_sigma * draw.standard_normal(exact.depth.shape))
    noisy = Predictions(exact.flow + noise, sigma / np.array([2, 3])[:, None, None], depth, depth_sigma)
    info = ModelInfo("", "", 112, 80, stride=8, sigma_scale=(2.0, 3.0))
    curves = [*flow_reliability(samples, noisy, info), depth_reliability(samples, noisy)]
    for curve, least in zip(curves, (0.05, 0.01, 0.05), strict=True):
        np.testing.assert_allclose(curve.actual, curve.predicted, rtol=0.15)
        assert curve.predicted[0] < 2 * least
    with pytest.raises(InputError, match=r"reliability\.foo.*its name must end in \.png"):
        validate(tmp_path, tmp_path, tmp_path / "reliability.foo")  # before anything is computed
    plot_reliability(samples, noisy, info, tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").stat().st_size > 1000
    samples.depth_known[:] = False
    assert depth_reliability(samples, noisy) is None

"""The published network takes the authors' tensors, gives their numbers, and reaches the estimator as an ONNX file."""

import json
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training module needs torch")
pytest.importorskip("safetensors", reason="the training module needs safetensors")

from safetensors.torch import save_file

from image_as_imu_ros.engine import load_engine
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.__main__ import main
from image_as_imu_training.export import write_onnx
from image_as_imu_training.networks.segnext import SegNeXt
from image_as_imu_training.published_weights import load_segnext

CONTRACT = Path(__file__).resolve().parents[3] / "shared" / "segnext_checkpoint"
needs_contract = pytest.mark.skipif(
    not CONTRACT.is_dir(), reason="../shared/segnext_checkpoint (names and outputs of the published network) is absent"
)
HEIGHT, WIDTH = 224, 320
FLOW_TOLERANCE_PX, DEPTH_TOLERANCE_M = 1e-3, 1e-4


def published_shapes() -> dict[str, list[int]]:
    return json.loads((CONTRACT / "state_dict_shapes.json").read_text())


def filled(name: str, shape: list[int]) -> torch.Tensor:
    """The contract's stand-in for a published tensor."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        noise = 1 + 0.1 * np.abs(noise)
    elif name.endswith("running_mean"):
        noise = 0.1 * noise
    elif "layer_scale" in name:
        noise = 0.3 + 0.05 * noise
    elif name.endswith("bias"):
        noise = 0.02 * noise
    elif noise.ndim == 1:
        noise = 1 + 0.1 * noise
    else:
        noise = 0.5 * noise / np.sqrt(np.prod(shape[1:]))
    if name == "backbone.patch_embed1.proj.0.weight":
        noise = noise / 255
    return torch.from_numpy(noise.astype(np.float32))


def waves() -> torch.Tensor:
    """The contract's input image, normalised."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([0.5 + 0.5 * np.sin(0.05 * (column * (c + 1) + row * (3 - c))) for c in range(3)])
    mean, std = (np.array(values)[:, None, None] for values in (SegNeXt.mean, SegNeXt.std))
    return torch.from_numpy(((image - mean) / std).astype(np.float32))[None]


def assert_golden(flow: np.ndarray, depth: np.ndarray) -> None:
    """Compare (2, H, W) px and (H, W) m with the authors' architecture."""
    golden = np.load(CONTRACT / "golden_outputs.npz")
    assert np.abs(flow[:, ::4, ::4] - golden["flow"]).max() <= FLOW_TOLERANCE_PX
    assert np.abs(depth[::4, ::4] - golden["depth"]).max() <= DEPTH_TOLERANCE_M
    np.testing.assert_allclose(flow.mean((1, 2)), golden["flow_mean"], atol=FLOW_TOLERANCE_PX)
    np.testing.assert_allclose(depth.mean(), golden["depth_mean"], atol=DEPTH_TOLERANCE_M)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A file as the authors publish theirs."""
    path = tmp_path_factory.mktemp("segnext") / "published.pth"
    torch.save({name: filled(name, shape) for name, shape in published_shapes().items()}, path)
    return path


@pytest.fixture(scope="module")
def network(checkpoint) -> SegNeXt:
    return load_segnext(checkpoint, stride=1)


@needs_contract
def test_names_and_shapes_are_the_published_ones():
    assert {name: list(tensor.shape) for name, tensor in SegNeXt().state_dict().items()} == published_shapes()


@needs_contract
@torch.no_grad()
def test_outputs_are_the_published_networks(network):
    flow, _, depth, _ = network(waves())
    assert_golden(flow[0].numpy(), depth[0, 0].numpy())


@needs_contract
@torch.no_grad()
def test_two_loads_and_runs_give_the_same_bits(network, checkpoint):
    image = waves()[:, :, :64, :96]
    for first, second in zip(network(image), load_segnext(checkpoint, stride=1)(image), strict=True):
        assert (first == second).all()


@needs_contract
@torch.no_grad()
def test_cells_hold_the_mean_of_their_pixels(network, checkpoint):
    """Depth is averaged in its logarithm."""
    image = waves()[:, :, :64, :96]
    flow, _, depth, _ = (output.unfold(2, 8, 8).unfold(3, 8, 8) for output in network(image))
    cell_flow, sigma, cell_depth, depth_sigma = load_segnext(checkpoint, stride=8)(image)
    torch.testing.assert_close(cell_flow, flow.mean((-1, -2)))
    torch.testing.assert_close(cell_depth, depth.log().mean((-1, -2)).exp())
    assert (sigma.shape, depth_sigma.shape) == (cell_flow.shape, cell_depth.shape)


@needs_contract
def test_onnx_file_gives_the_published_outputs_and_the_same_bits_twice(network, tmp_path):
    info = ModelInfo("segnext", "0", WIDTH, HEIGHT, "rgb", SegNeXt.mean, SegNeXt.std, stride=1, flow="signed")
    write_onnx(network, info, tmp_path / "segnext.onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(tmp_path / "segnext.onnx", providers=["CPUExecutionProvider"])
    first, second = (session.run(["flow", "depth"], {"image": waves().numpy()}) for _ in range(2))
    assert_golden(first[0][0], first[1][0, 0])
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


@needs_contract
def test_exported_checkpoint_reaches_the_estimator(checkpoint, tmp_path, capsys):
    output = tmp_path / "segnext.onnx"
    arguments = ["export", "--network", "segnext", "--checkpoint", checkpoint, "--output", output, "--version", "1"]
    assert main([str(argument) for argument in arguments]) == 0, capsys.readouterr().err
    engine = load_engine(output)
    assert (engine.info.flow, engine.info.colour, engine.info.version) == ("signed", "rgb", "1")

    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    camera = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
    estimate = MotionEstimator(engine).update(Frame(image, 1, camera, Shutter(0.01)))
    field = estimate.network_output
    assert field.axial_flow.shape == (2, HEIGHT // field.stride, WIDTH // field.stride)
    assert np.isfinite(field.axial_flow).all()
    assert (field.depth > 0).all()
    assert (field.sigma == np.array(engine.info.sigma_scale)[:, None, None]).all()
    assert (field.depth_sigma == engine.info.depth_sigma_scale).all()
    velocity = estimate.velocity
    assert np.isfinite(velocity.vector).all()
    assert np.linalg.eigvalsh(velocity.covariance).min() > 0
    # The stand-in weights see at most half a pixel of blur.
    assert np.linalg.norm(velocity.angular) < 1


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return SegNeXt().state_dict()


HEAD = "flow_decoder.linear_pred_flow.weight"


def renamed(tensors):
    return {name.replace("ll_enc", "encoder"): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != HEAD}, rf'Missing .* "{HEAD}"'),
        (lambda t: t | {"pose_head.weight": torch.zeros(1)}, r'Unexpected .* "pose_head\.weight"'),
        (lambda t: t | {HEAD: torch.zeros(3, 64, 1, 1)}, rf"mismatch for {HEAD}: .*\[3, 64, 1, 1\].*\[2, 64, 1, 1\]"),
        (renamed, r'Missing .* "ll_enc\.conv1\.conv\.weight"'),
    ],
    ids=["missing", "unexpected", "misshapen", "renamed"],
)
def test_a_tampered_file_is_refused_with_the_tensors_name(tensors, tmp_path, change, message):
    save_file(change(tensors), tmp_path / "tampered.safetensors")
    with pytest.raises(InputError, match=rf"tampered\.safetensors does not fit this network: .*{message}"):
        load_segnext(tmp_path / "tampered.safetensors")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_both_file_formats_load(tensors, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    changed = tensors | {HEAD: torch.full((2, 64, 1, 1), 0.25)}
    (save_file if suffix == ".safetensors" else torch.save)(changed, path)
    network = load_segnext(path)
    assert not network.training
    assert all((tensor == changed[name]).all() for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", ["noise.pth", "noise.safetensors", "absent.pth", "absent.safetensors"])
def test_a_missing_or_damaged_file_is_refused_with_its_name(tmp_path, name):
    if name.startswith("noise"):
        (tmp_path / name).write_bytes(b"no tensors in here, none at all")
    with pytest.raises(InputError, match=name):
        load_segnext(tmp_path / name)


def test_a_file_that_holds_more_than_tensors_is_refused(tmp_path):
    torch.save({"model": {"weight": torch.zeros(1)}, "epoch": 3}, tmp_path / "wrapped.pth")
    with pytest.raises(InputError, match="no plain state dict"):
        load_segnext(tmp_path / "wrapped.pth")


class _Code:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_file_is_never_executed(tmp_path, write):
    write({"weight": _Code(tmp_path / "executed")}, tmp_path / "hostile.pth")
    with pytest.raises(InputError, match="hostile"):
        load_segnext(tmp_path / "hostile.pth")
    assert not (tmp_path / "executed").exists()

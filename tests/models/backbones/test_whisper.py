"""Whisper's encoder as a backbone: shapes, padding, weights from a state dict, an ONNX graph and the package."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

from fdan_edge.config import Config
from fdan_edge.errors import ConfigError
from fdan_edge.models.backbones.build import build_voice_backbone
from fdan_edge.models.backbones.weights import load_weights
from fdan_edge.models.backbones.whisper import WIDTH, WhisperEncoder
from fdan_edge.models.backbones.whisper_weights import PATTERN, from_onnx
from fdan_edge.models.fdan import AcousticPath, Fdan, build_frontend
from fdan_edge.runtime.model_spec import ModelSpec
from fdan_edge.runtime.onnx import OnnxRunner
from tests.helpers.exported import write_onnx
from tests.helpers.operations import check_operations

WORDS = ["backbone=whisper_tiny", "window_seconds=0.5", "window_hop_seconds=0.5", "encoder_layers=1"]


def encoder(layers: int = 1, frames: int = 51) -> WhisperEncoder:
    torch.manual_seed(0)
    made = WhisperEncoder(layers, frames)
    nn.init.normal_(made.positions, std=0.1)
    return made.eval()


def log_mels(n: int, frames: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 1, 80, frames, generator=torch.Generator().manual_seed(seed)) * 3 - 1


@pytest.mark.parametrize("frames", [1, 2, 50, 51])
def test_two_frames_make_one_position(frames: int) -> None:
    with torch.inference_mode():
        assert encoder(frames=frames)(log_mels(3, frames)).shape == (3, 2 * WIDTH)


def test_padding_changes_nothing() -> None:
    """Only the stem's reach (a frame or two) past the end of the voice can tell."""
    network = encoder(frames=101)
    long = torch.full((1, 1, 80, 101), -2.0)
    long[..., :60] = log_mels(1, 60)
    longer_table = network.positions
    short = long[..., :62]
    with torch.inference_mode():
        padded, cut = network(long), network(short)
        noisy = network(torch.where(long <= -2, -1.99 + 0.01 * torch.rand(long.shape), long))
    assert longer_table.shape == (51, WIDTH)
    torch.testing.assert_close(padded, cut, rtol=0, atol=2e-4)
    assert (noisy - padded).abs().max() > 0.05  # sound there, however quiet, is heard


def test_silence_is_finite_and_has_gradients() -> None:
    network = encoder().train()
    made = network(torch.full((2, 1, 80, 51), -2.0))
    made.sum().backward()
    assert bool(made.isfinite().all())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_a_state_dict_of_the_whole_model_is_read() -> None:
    """As Hugging Face has it: prefixes, a decoder of the same names, more layers and positions."""
    source = encoder(layers=2, frames=81)
    state = {f"model.encoder.{k}": v for k, v in source.state_dict().items() if not k.startswith("norm.")}
    state["model.encoder.embed_positions.weight"] = state.pop("model.encoder.positions")
    state |= {k.replace("encoder.", "decoder."): torch.ones_like(v) for k, v in state.items()}
    network = encoder(layers=1, frames=51)
    network.load(state)
    torch.testing.assert_close(network.positions, source.positions[:26])
    torch.testing.assert_close(network.layers[0].fc1.weight, source.layers[0].fc1.weight)  # type: ignore[union-attr]
    del state["model.encoder.layers.0.fc1.weight"]
    with pytest.raises(RuntimeError, match=r"missing layers\.0\.fc1\.weight"):
        network.load(state)
    with pytest.raises(RuntimeError, match=r"missing positions, conv1\.weight, conv1\.bias"):
        network.load({"features.0.weight": torch.zeros(1)})  # of another network


def test_frozen_stages_and_the_learning_rate_of_the_rest(tmp_path: Path) -> None:
    save_file(_state(), tmp_path / "w.safetensors")
    config = Config.load(None, [*WORDS, "encoder_layers=2", f"weights={tmp_path / 'w.safetensors'}"])
    state = load_weights("whisper_tiny", config.weights)
    network, width = build_voice_backbone(config, state)
    frozen = {name.split(".")[0] for name, p in network.named_parameters() if not p.requires_grad}
    assert width == 2 * 2 * WIDTH
    assert frozen == {"conv1", "conv2", "positions", "layers"}
    assert all(p.requires_grad for name, p in network.named_parameters() if name.startswith("layers.1."))
    assert isinstance(network, WhisperEncoder)
    for stages, first in ((0, "positions"), (1, "layers.0"), (2, "layers.1"), (3, "norm"), (9, "norm")):
        made = encoder(layers=2)
        made.freeze(stages)
        assert next(name for name, p in made.named_parameters() if p.requires_grad).startswith(first)
    again, _ = build_voice_backbone(config, None)  # as --resume makes it
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in network.parameters()]
    fresh, _ = build_voice_backbone(replace(config, weights="none"), None)
    assert all(p.requires_grad for p in fresh.parameters())


def test_the_normalisation_of_a_frozen_encoder_is_trained() -> None:
    network = encoder().train()
    network.freeze(5)
    rows = network.encode(log_mels(4, 51))
    assert not rows.requires_grad
    network(rows).square().sum().backward()
    assert {name for name, p in network.named_parameters() if p.grad is not None} == {"norm.weight", "norm.bias"}
    assert network.norm.running_mean is not None
    torch.testing.assert_close(network.norm.running_mean, 0.1 * rows.mean(0))
    network.eval()
    torch.testing.assert_close(network(rows), network(log_mels(4, 51)))


def test_the_cache_key_is_of_the_weights_that_are_frozen() -> None:
    network = encoder()
    before = network.cache_key()
    network.train()(log_mels(2, 51))
    assert network.cache_key() == before  # running statistics
    with torch.no_grad():
        network.positions[0, 0] += 1
    assert network.cache_key() != before
    assert encoder(layers=2).cache_key()["encoder_layers"] == 2


def test_fdan_takes_another_network_for_faces() -> None:
    model = Fdan(Config.load(None, [*WORDS, "weights=none"]), 3, faces=True)
    output = model.eval()(log_mels(2, 51), torch.rand(4, 3, 48, 48))
    assert output.logits_acoustic.shape == (2, 3)
    assert output.logits_visual.shape == (4, 3)


def test_what_it_needs_is_said() -> None:
    for word, message in (
        ("n_mels=128", "whisper_tiny needs n_mels = 80, not 128"),
        ("sample_rate=8000", "whisper_tiny needs sample_rate = 16000"),
        ("window_seconds=8", "hears at most 7.9 at once"),
        ("face_backbone=whisper_tiny", "unknown face_backbone"),
        ("face_backbone=", "sees no faces"),
    ):
        with pytest.raises(ConfigError, match=message):
            Config.load(None, [*WORDS, word])
    assert Config.load(None, WORDS).hop == 160
    assert Config.load(None, []).hop == 256


def test_without_the_package_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install --no-deps pipecat-ai.*weights=PATH.*weights=none"):
        load_weights("whisper_tiny", "pretrained")


def test_a_damaged_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pipecat" / Path(PATTERN).parent
    folder.mkdir(parents=True)
    (tmp_path / "pipecat" / "__init__.py").touch()
    (folder / "smart-turn-v3.9.onnx").write_bytes(b"no graph")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"smart-turn-v3\.9\.onnx: not the encoder that was expected"):
        load_weights("whisper_tiny", "pretrained")


def test_weights_out_of_a_quantised_graph() -> None:
    """A graph as the packaged one is: matrices without names, int8 by output feature, Q/DQ between the nodes."""
    state = _state()
    found = from_onnx(_graph(state))
    assert set(found) == {name for name in state if name.startswith(("layers.0.self_attn.", "conv1"))}
    for name, value in found.items():
        step = state[name].abs().max() / 127
        torch.testing.assert_close(value, state[name], rtol=0, atol=float(step))


@pytest.mark.skipif(importlib.util.find_spec("pipecat") is None, reason="the package is not installed")
def test_the_packaged_weights_fit() -> None:
    state = load_weights("whisper_tiny", "pretrained")
    assert state is not None
    network = WhisperEncoder(4, 800)
    network.load(state)
    assert float(network.positions.detach().std()) > 0.1


@dataclass(frozen=True)
class Exported:
    network: Fdan
    path: AcousticPath
    window: int
    file: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    config = Config.load(None, [*WORDS, "weights=none", "window_seconds=1", "encoder_layers=2"])
    torch.manual_seed(0)
    network = Fdan(config, 3, faces=False).eval()
    for parameter in network.acoustic.backbone.parameters():
        nn.init.normal_(parameter, std=0.1)
    path = AcousticPath(network, build_frontend(config))
    spec = ModelSpec(("a", "b", "c"), config.sample_rate, config.window, config.window_hop, 0.0)
    file = tmp_path_factory.mktemp("exported") / "m.onnx"
    write_onnx(path, spec, file)
    return Exported(network, path, config.window, file)


def test_the_exported_graph_says_the_same(exported: Exported) -> None:
    path = exported.path
    voices = 0.1 * torch.randn(3, exported.window, generator=torch.Generator().manual_seed(0))
    voices[1, 9000:] = 0  # padded, as the end of a recording is
    voices[2] = 0
    with OnnxRunner(exported.file) as runner, torch.inference_mode():
        for windows in (voices, voices[:1], voices[1:2]):
            made, expected = runner.predict(windows.numpy()), path(windows).numpy()
            np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)
    assert float((path(voices[:1]) - path(voices[1:2])).detach().abs().max()) > 1e-3


def test_as_many_operations_as_pytorch_counts(exported: Exported) -> None:
    check_operations(exported.network, exported.path, exported.window, exported.file)


def _state() -> dict[str, Tensor]:
    """Random weights of two layers with Whisper's names."""
    state = {k: v for k, v in encoder(layers=2).state_dict().items() if not k.startswith("norm.")}
    state["embed_positions.weight"] = state.pop("positions")
    return state


def _graph(state: dict[str, Tensor]) -> onnx.ModelProto:
    nodes, constants = [], []

    def constant(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    def quantised(name: str, weight: Tensor, axis: int) -> str:
        other = tuple(i for i in range(weight.ndim) if i != axis)
        scale = weight.abs().amax(dim=other, keepdim=True) / 127
        whole = (weight / scale).round().to(torch.int8)
        inputs = [
            constant(f"{name}_quantized", whole.numpy()),
            constant(f"{name}_scale", scale.flatten().numpy()),
            constant(f"{name}_zero", np.zeros(scale.numel(), np.int8)),
        ]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_value"], axis=axis))
        return f"{name}_value"

    weight = quantised("stem", state["conv1.weight"], 0)
    bias = constant("stem_bias", state["conv1.bias"].numpy())
    nodes.append(helper.make_node("Conv", ["mel", weight, bias], ["x"], pads=[1, 1]))
    for number, part in enumerate(("k_proj", "q_proj", "v_proj", "out_proj")):
        name = f"layers.0.self_attn.{part}"
        weight = quantised(f"val_{number}", state[f"{name}.weight"].T, 1)
        nodes.append(helper.make_node("MatMul", ["x", weight], [f"product{number}"]))
        nodes.append(helper.make_node("QuantizeLinear", [f"product{number}", "one", "zero"], [f"q{number}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{number}", "one", "zero"], [f"dq{number}"]))
        if part != "k_proj":
            bias = constant(f"inner.encoder.{name}.bias", state[f"{name}.bias"].numpy())
            nodes.append(helper.make_node("Add", [f"dq{number}", bias], [f"sum{number}"]))
        else:
            nodes.append(helper.make_node("Relu", [f"dq{number}"], [f"sum{number}"]))
    constant("one", np.array(1, np.float32))
    constant("zero", np.array(0, np.int8))
    return helper.make_model(helper.make_graph(nodes, "encoder", [], [], constants))

"""State dicts from files: what is read, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from fdan_edge.errors import ConfigError
from fdan_edge.models.backbones.build import build_backbone
from fdan_edge.models.backbones.weights import load_weights


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return dict(torchvision.models.get_model("mobilenet_v2", weights=None).state_dict())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_by_path(tmp_path: Path, state: dict[str, Tensor], suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    loaded = load_weights("mobilenet_v2", str(path))
    assert loaded is not None
    assert loaded.keys() == state.keys()
    network, _ = build_backbone("mobilenet_v2", loaded)
    assert torch.equal(network.state_dict()["features.5.conv.0.0.weight"], state["features.5.conv.0.0.weight"])


def test_no_weights() -> None:
    assert load_weights("resnet34", "none") is None


def test_a_wrong_path_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'/nowhere/w.pth': no such file; valid: pretrained, none, or a path"):
        load_weights("resnet18", "/nowhere/w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated"])
def test_damaged_files(tmp_path: Path, state: dict[str, Tensor], suffix: str, damage: str) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "garbage": b"\x00garbage" * 100, "truncated": whole[: len(whole) // 2]}[damage]
    )
    with pytest.raises(ConfigError, match="not a readable state dict") as caught:
        load_weights("mobilenet_v2", str(path))
    assert "\n" not in str(caught.value)


class Malicious:
    """A pickle that runs code when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, writer: str) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "executed"
    content = {"fc.weight": Malicious(trace)}
    torch.save(content, path) if writer == "torch" else path.write_bytes(pickle.dumps(content))
    with pytest.raises(ConfigError, match="not a readable state dict"):
        load_weights("resnet18", str(path))
    assert not trace.exists()
    pickle.loads(pickle.dumps(content))  # the trap works: without the refusal it would have run
    assert trace.exists()


@pytest.mark.parametrize(
    "content", [[1, 2, 3], torch.zeros(3), {"a": 1}, {1: torch.zeros(2)}, {"state_dict": {"a": torch.zeros(1)}}]
)
def test_files_that_hold_something_else(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(ConfigError):
        build_backbone("resnet18", load_weights("resnet18", str(path)))


def test_weights_of_another_network(state: dict[str, Tensor]) -> None:
    with pytest.raises(ConfigError, match="the weights do not fit resnet18: ") as caught:
        build_backbone("resnet18", state)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape(state: dict[str, Tensor]) -> None:
    wrong = {**state, "features.0.0.weight": torch.zeros(32, 1, 3, 3)}
    with pytest.raises(ConfigError, match="the weights do not fit mobilenet_v2"):
        build_backbone("mobilenet_v2", wrong)

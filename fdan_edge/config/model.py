"""The settings of the networks."""

from __future__ import annotations

from dataclasses import dataclass

from fdan_edge.config.backbones import BACKBONES, FACE_BACKBONES
from fdan_edge.config.setting import Settings, setting


@dataclass(frozen=True)
class ModelSettings(Settings):
    """Backbones, and what stands between them and the classes."""

    recipe: str = setting(
        "auto",
        "head: a linear head on frozen features of whisper_tiny, in closed form; network: the backbone is "
        "trained; auto: a head, unless faces, a corpus to adapt to or a setting of a network is given",
        choices=("auto", "head", "network"),
    )
    backbone: str = setting("resnet34", "network of the voices", choices=BACKBONES)
    weights: str = setting("pretrained", "pretrained, none, or the path of a state dict (.pth, .safetensors)")
    face_backbone: str = setting(
        "", "network of the faces; empty: the same as the voices'", choices=FACE_BACKBONES.or_empty()
    )
    encoder_layers: int = setting(
        0,
        "how many of whisper_tiny's four layers are used; 0: three under a head, two in a network",
        low=0,
        high=4,
    )
    frozen_stages: int = setting(
        0,
        "stages of the voices' network that are not trained, from the input on; of whisper_tiny 1 is its stem and "
        "2 its first layer too, of a mobilenet_v2 each is one of 19 blocks, of a resnet one of 5 groups; random "
        "weights are never frozen",
        low=0,
        high=19,
    )
    frozen_face_stages: int = setting(0, "the same of the faces' network", low=0, high=19)
    dropout: float = setting(0.0, "dropout in whisper_tiny's layers", low=0, high=0.9)
    feature_size: int = setting(256, "d, the width of the features Z_v and Z_a", low=8, high=4096)
    fc_layers: int = setting(
        1,
        "fully connected layers of that width after the backbone; 0: the classifier reads the backbone's output",
        low=0,
        high=8,
    )
    attention_layers: int = setting(
        1, "l, layers of cross-attention; 0 is the paper's ablation FDAN_1", low=0, high=12
    )
    acoustic_path: str = setting(
        "skip",
        "cross-attention in the exported network: skip leaves it out, bank attends to stored faces",
        choices=("skip", "bank"),
    )
    visual_dropout: float = setting(
        0.0, "share of the voices that are trained without the faces' term", low=0, high=1
    )
    bank_per_class: int = setting(16, "faces of each class in the bank of acoustic_path = bank", low=1, high=512)

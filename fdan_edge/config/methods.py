"""What a training's method is called."""

from __future__ import annotations

from fdan_edge.config.settings import Config

_ADAPTATIONS = {
    "source": "source only",
    "mmd": "MMD",
    "lmmd": "LMMD with pseudo-labels",
    "coral": "CORAL",
    "dann": "DANN",
    "didan": "DIDAN",
}


def method_name(config: Config, *, faces: bool) -> str:
    """Name what a configuration trains, in the papers' words where they have one.

    Args:
        config: the settings.
        faces: whether faces are trained on beside voices.
    """
    if config.method != "fdan":
        return _ADAPTATIONS[config.method] + (" + FDAN" if faces else "")
    if config.recipe == "head":
        return "head on frozen features"
    if not faces:
        return "plain backbone"
    if not config.attention_layers:
        return "FDAN_1 (no cross-attention)" if config.alpha else "two backbones, neither attention nor LMMD"
    return "FDAN" if config.alpha else "FDAN_2 (no LMMD)"

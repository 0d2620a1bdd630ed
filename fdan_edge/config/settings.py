"""All settings of a training: the groups put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdan_edge.config.augmentation import AugmentationSettings
from fdan_edge.config.backbones import BACKBONES, FACE_BACKBONES, get_backbone
from fdan_edge.config.data import DataSettings
from fdan_edge.config.features import FeatureSettings
from fdan_edge.config.loss import LossSettings
from fdan_edge.config.machine import MachineSettings
from fdan_edge.config.model import ModelSettings
from fdan_edge.config.optimisation import OptimisationSettings
from fdan_edge.config.setting import Settings, about
from fdan_edge.errors import ConfigError, unknown_choice


# A dataclass has the fields of its last base first: config.toml begins with the model, and ends with the machine.
@dataclass(frozen=True)
class Config(
    MachineSettings,
    DataSettings,
    AugmentationSettings,
    OptimisationSettings,
    FeatureSettings,
    LossSettings,
    ModelSettings,
):
    """Every setting of a training.

    Each is declared once, in its group. A function that needs one group only asks for that, and a Config is one.

    ResNet-34, batch 32 and alpha are the paper's. Ours are the optimiser and its settings (the paper: SGD,
    momentum 0.99, decay 1e-3 or 1e-4, 300 epochs), label smoothing, averaged weights, augmentation, face size,
    and a validation part and speakers that are held out.

    Raises:
        ConfigError: a value is out of range or none of the choices, or settings do not go together.
    """

    @classmethod
    def load(cls, path: Path | str | None = None, overrides: Sequence[str] = (), **defaults: Any) -> Config:
        """Read the settings of a TOML file, changed by words such as `alpha=0.01` or `loss.alpha=0.01`.

        Args:
            path: the file, flat or with the groups as tables; None: the defaults, and what the backbone brings.
            overrides: `name=value` words, as for --set.
            defaults: what stands in the place of the usual defaults.

        Raises:
            ConfigError: the file cannot be read, or a setting has an unknown name or a value that cannot work.
        """
        from fdan_edge.config import loading  # which needs this class

        return loading.load(None if path is None else Path(path), overrides, **defaults)

    def check(self) -> None:
        """Check what goes across groups: aligned layers that exist, and what the backbones ask for."""
        if self.fc_layers == 0 and (self.attention_layers or self.method not in ("fdan", "source")):
            raise ConfigError("fc_layers = 0 goes with attention_layers = 0 and without alignment of corpora")
        valid = [*map(str, range(1, self.fc_layers + 1)), "output"]
        for name in self.aligned_layers:
            if name not in valid:
                raise ConfigError(unknown_choice("aligned_layers", name, valid))
        super().check()
        self._check_backbones()

    def _check_backbones(self) -> None:
        voices, faces = get_backbone(self.backbone), get_backbone(self.face_backbone or self.backbone)
        if voices.check:
            voices.check(voices, self)
        if "faces" not in faces.takes:
            raise ConfigError(f"{faces.name} sees no faces: set face_backbone; valid: {', '.join(FACE_BACKBONES)}")
        for name, entry, names in (
            ("frozen_stages", voices, BACKBONES),
            ("frozen_face_stages", faces, FACE_BACKBONES),
        ):
            if getattr(self, name) and not entry.stages:
                able = ", ".join(other for other in names if get_backbone(other).stages)
                raise ConfigError(f"{name} goes with {able}, not {entry.name}")


#: The groups in which a person looks for a setting.
GROUPS: dict[str, type[Settings]] = {
    "data": DataSettings,
    "model": ModelSettings,
    "loss": LossSettings,
    "augmentation": AugmentationSettings,
    "optimisation": OptimisationSettings,
    "machine": MachineSettings,
}
#: Setting -> its group.
GROUP_OF = {field.name: group for group, settings in GROUPS.items() for field in dataclasses.fields(settings)}
FIELDS = {field.name: field for field in dataclasses.fields(Config)}
#: Those that a training's result depends on.
DECISIVE = tuple(name for name, field in FIELDS.items() if about(field).decisive)

"""The settings of a training, each said once: type, default, range, choices and text, in one of six groups."""

from fdan_edge.config.augmentation import AugmentationSettings
from fdan_edge.config.backbones import (
    BACKBONES,
    FACE_BACKBONES,
    Backbone,
    BuildRequest,
    find_backbone,
    get_backbone,
    register_backbone,
)
from fdan_edge.config.data import DataSettings
from fdan_edge.config.features import FeatureSettings
from fdan_edge.config.loading import config_from_dict, config_to_dict, read_toml, saved_config
from fdan_edge.config.loss import METHODS, LossSettings
from fdan_edge.config.machine import MachineSettings
from fdan_edge.config.methods import method_name
from fdan_edge.config.model import ModelSettings
from fdan_edge.config.optimisation import OptimisationSettings
from fdan_edge.config.recipes import Choice, choose_recipe, head_config, network_config
from fdan_edge.config.settings import DECISIVE, FIELDS, GROUP_OF, GROUPS, Config
from fdan_edge.config.table import SettingRow, setting_rows, settings_table

__all__ = [
    "BACKBONES",
    "DECISIVE",
    "FACE_BACKBONES",
    "FIELDS",
    "GROUPS",
    "GROUP_OF",
    "METHODS",
    "AugmentationSettings",
    "Backbone",
    "BuildRequest",
    "Choice",
    "Config",
    "DataSettings",
    "FeatureSettings",
    "LossSettings",
    "MachineSettings",
    "ModelSettings",
    "OptimisationSettings",
    "SettingRow",
    "choose_recipe",
    "config_from_dict",
    "config_to_dict",
    "find_backbone",
    "get_backbone",
    "head_config",
    "method_name",
    "network_config",
    "read_toml",
    "register_backbone",
    "saved_config",
    "setting_rows",
    "settings_table",
]

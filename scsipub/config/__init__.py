"""What the operator decided: options, variables, a TOML file, defaults.  Knows nobody but the limits."""

from scsipub.config.load import SETTINGS, load_config
from scsipub.config.records import (
    ChapUser,
    Config,
    LunConfig,
    Portal,
    TargetAddress,
    TargetConfig,
    default_state_dir,
)

__all__ = [
    "SETTINGS",
    "ChapUser",
    "Config",
    "LunConfig",
    "Portal",
    "TargetAddress",
    "TargetConfig",
    "default_state_dir",
    "load_config",
]

"""The engine that a config names."""

from __future__ import annotations

from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.resources import DEFAULT_MODEL, resource


def open_engine(config: EngineConfig, int8_where_fast: bool = False) -> Engine:
    """Load a model, the shipped one if none is named.

    Args:
        int8_where_fast: as `load_engine`; the node asks for it.

    Raises:
        InputError: it cannot be loaded here.
    """
    model = config.model or resource(DEFAULT_MODEL)
    return load_engine(model, config.engine, config.threads, config.precision, config.dla_core, int8_where_fast)

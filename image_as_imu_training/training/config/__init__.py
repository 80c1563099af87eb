"""Hydra configuration of `train`. What the values mean is said in `training/settings.py`."""

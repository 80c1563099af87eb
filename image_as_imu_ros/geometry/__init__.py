"""Cameras, rotations, motion field and axial flow."""

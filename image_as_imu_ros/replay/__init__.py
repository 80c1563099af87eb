"""Recordings: reading, ground truth, evaluation, metrics and plots. No ROS installation is needed."""

"""Recordings (rosbag2): reading, writing, choice of topics, ground truth and exposures."""

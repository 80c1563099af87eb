"""Camera messages → arrays, without ROS."""

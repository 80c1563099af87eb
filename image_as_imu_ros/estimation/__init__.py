"""The method, in the order of the data: from a frame to a velocity."""

"""Limits of header stamps, the same in the node and for recordings: what belongs together, and when time starts again.

All in ns.
"""

EXPOSURE_TOLERANCE = 1_000_000  # between the stamps of an image and of its exposure, where one camera has the topic
DEPTH_TOLERANCE = 20_000_000  # between the stamps of an image and of its depth
RESTART = 1_000_000_000  # stamps that go back by more are those of a recording that starts again, by less disorder

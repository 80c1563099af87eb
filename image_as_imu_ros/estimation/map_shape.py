"""How far a network's depth map is to be trusted, learnt from the frames themselves.

Two frames of a translating camera tell the shape of the scene, whatever the map says (`two_view`). Nothing tells its
scale; but a network that was trained in rooms sees rooms in streets, of other proportions and far too near. (Among
rooms, how wrong the shape is foretells nothing: tools/measure_depth_shape.py.) So the smooth errors of its shape that
frames have found are held against those that they would have found if errors were as large as expected, σ² times what
each frame tells of them: the ratio of the two sums is what the scale's standard deviation grows with.
"""

from __future__ import annotations

from dataclasses import dataclass

from image_as_imu_ros.estimation.constants import STRUCTURE


@dataclass(frozen=True)
class MapShape:
    """Decaying sums over the last frames.

    Attributes:
        found: squared factors of the polynomials over σ². expected: of these, if errors were as large as σ.
    """

    found: float = STRUCTURE.first_frames * STRUCTURE.usual_shape
    expected: float = STRUCTURE.first_frames

    def after(self, found: float, expected: float) -> MapShape:
        """Add what one more frame tells."""
        return MapShape(STRUCTURE.shape_memory * self.found + found, STRUCTURE.shape_memory * self.expected + expected)

    @property
    def foreign(self) -> bool:
        """Whether the map is another place's: its scale may well be wrong by more than a factor of e."""
        return self.scale_std > 1

    @property
    def scale_std(self) -> float:
        """Standard deviation of the log of the map's scale."""
        foreign = STRUCTURE.foreign_scale_std * self.found / self.expected
        return min(max(foreign, STRUCTURE.scale_std), STRUCTURE.foreign_scale_std)

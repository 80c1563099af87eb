"""Rotations are proper ones, say the same as scipy's, and survive each change of how they are written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from image_as_imu_ros.geometry import so3

no_deadline = settings(deadline=None)
coordinate = st.floats(-1, 1)
axis = st.tuples(coordinate, coordinate, coordinate).filter(lambda a: np.linalg.norm(a) > 0.1)
angle = st.one_of(st.floats(0, np.pi), st.floats(0, 1e-6), st.floats(np.pi - 1e-6, np.pi))


@st.composite
def rotation_vectors(draw) -> np.ndarray:
    """Up to half a revolution about any axis, often hardly any or nearly that much."""
    along = np.array(draw(axis))
    return draw(angle) * along / np.linalg.norm(along)


quaternions = st.tuples(*[coordinate] * 4).map(np.array).filter(lambda q: np.linalg.norm(q) > 0.1)


@no_deadline
@given(vector=rotation_vectors())
def test_exp_is_a_rotation_and_scipys(vector):
    rotation = so3.exp(vector)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-11)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(rotation, Rotation.from_rotvec(vector).as_matrix(), atol=1e-11)
    np.testing.assert_allclose(rotation @ vector, vector, atol=1e-11)


@no_deadline
@given(vector=rotation_vectors())
def test_log_undoes_exp(vector):
    """At half a revolution, φ and −φ are one rotation."""
    found = so3.log(so3.exp(vector))
    if np.linalg.norm(vector) > np.pi - 1e-5:
        found = np.sign(found @ vector) * found
    np.testing.assert_allclose(found, vector, atol=2e-11)


@no_deadline
@given(vector=rotation_vectors())
def test_log_is_scipys(vector):
    rotation = Rotation.from_rotvec(vector)
    found, expected = so3.log(rotation.as_matrix()), rotation.as_rotvec()
    np.testing.assert_allclose(found if found @ expected >= 0 else -found, expected, atol=1e-10)


@no_deadline
@given(q=quaternions)
def test_a_quaternion_survives_its_matrix(q):
    unit = q / np.linalg.norm(q)
    rotation = so3.rotation_matrices(q)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotation, Rotation.from_quat(np.roll(q, -1)).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(rotation @ unit[1:], unit[1:], atol=1e-12)  # its axis stays where it is
    assert np.trace(rotation) == pytest.approx(4 * unit[0] ** 2 - 1)
    found = so3.quaternion_from_matrix(rotation)
    assert found[0] >= 0
    np.testing.assert_allclose(found if found @ unit > 0 else -found, unit, atol=1e-12)


@no_deadline
@given(q=quaternions, seed=st.integers(0, 1000))
def test_a_matrix_of_few_digits_stands_for_the_rotation_next_to_it(q, seed):
    """As an orthogonal Procrustes problem has it (Schönemann 1966)."""
    blunt = so3.rotation_matrices(q) + np.random.default_rng(seed).uniform(-1e-3, 1e-3, (3, 3))
    left, _, right = np.linalg.svd(blunt)
    np.testing.assert_allclose(so3.rotation_matrices(so3.quaternion_from_matrix(blunt)), left @ right, atol=1e-12)


@no_deadline
@given(first=rotation_vectors(), second=rotation_vectors(), share=st.floats(0, 1))
def test_interpolation_keeps_to_one_axis_and_is_even(first, second, share):
    begin, end = so3.exp(first), so3.exp(second)
    between = so3.interpolate(begin, end, share)
    whole, part = (Rotation.from_matrix(begin.T @ there).magnitude() for there in (end, between))
    assert part == pytest.approx(share * whole, abs=1e-6)
    rest = Rotation.from_matrix(between.T @ end).magnitude()
    assert rest == pytest.approx((1 - share) * whole, abs=1e-6)


def test_many_rotations_at_once_are_those_of_one_by_one():
    rng = np.random.default_rng(0)
    vectors, quaternion, share = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 4)), rng.uniform(size=(2, 5))
    many = so3.exp(vectors)
    others = so3.rotation_matrices(quaternion)
    for i in np.ndindex(2, 5):
        np.testing.assert_allclose(many[i], so3.exp(vectors[i]), atol=1e-15)
        np.testing.assert_allclose(so3.log(many)[i], so3.log(many[i]), atol=1e-14)
        np.testing.assert_array_equal(others[i], so3.rotation_matrices(quaternion[i]))
        np.testing.assert_allclose(
            so3.quaternion_from_matrix(others)[i], so3.quaternion_from_matrix(others[i]), atol=1e-14
        )
        np.testing.assert_allclose(
            so3.interpolate(many, others, share)[i], so3.interpolate(many[i], others[i], share[i]), atol=1e-13
        )
    assert so3.exp(np.empty((0, 3))).shape == so3.rotation_matrices(np.empty((0, 4))).shape == (0, 3, 3)
    assert so3.log(np.empty((0, 3, 3))).shape == (0, 3)


@no_deadline
@given(vector=rotation_vectors(), seed=st.integers(0, 99))
def test_between_finds_the_rotation_of_vectors_and_never_a_reflection(vector, seed):
    before = np.random.default_rng(seed).normal(size=(8, 3))
    np.testing.assert_allclose(so3.between(before, before @ so3.exp(vector).T), so3.exp(vector), atol=1e-9)
    flat = before * (1, 1, 0)  # which a reflection carries as well
    np.testing.assert_allclose(so3.between(flat, flat @ so3.exp(vector).T), so3.exp(vector), atol=1e-9)
    both = so3.between(np.stack([before, flat]), np.stack([before, -before]))
    np.testing.assert_allclose(np.linalg.det(both), 1)
    expected = Rotation.align_vectors(-before, flat)[0].as_matrix()
    np.testing.assert_allclose(both[1], expected, atol=1e-9)


def test_rotate_is_exp_without_the_matrices():
    rng = np.random.default_rng(0)
    vectors, rotations = rng.normal(size=(2, 50, 3))
    rotations[0] = 0
    np.testing.assert_allclose(so3.rotate(rotations, vectors), np.einsum("nij,nj->ni", so3.exp(rotations), vectors))

"""Choosing points: on the surface of a mesh, and spread evenly over a cloud. It knows no file format.

Shapes: N = points given, n = points wanted, V = vertices, M = triangles.
"""

import numpy as np
from numpy.typing import NDArray

POINTS = 1024  # of every cloud that the encoder sees
CANDIDATES = 4096  # drawn before the most evenly spread POINTS are kept

Array = NDArray[np.float32]


def surface(vertices: Array, faces: NDArray[np.int64], count: int, seed: int) -> tuple[Array, NDArray[np.int64], Array]:
    """Points (count, 3) drawn evenly from a mesh's surface, with the triangle and barycentric weights of each."""
    corners = vertices[faces].astype(np.float64)  # (M, 3, 3)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)  # (M,)
    edges = np.cumsum(areas)
    rng = np.random.default_rng(seed)
    chosen = np.minimum(np.searchsorted(edges, rng.random(count) * edges[-1], side="right"), len(faces) - 1)
    u, v = rng.random(count), rng.random(count)
    flip = u + v > 1
    u[flip], v[flip] = 1 - u[flip], 1 - v[flip]
    weights = np.stack([1 - u - v, u, v], axis=1).astype(np.float32)  # (count, 3)
    points = np.einsum("nk,nkd->nd", weights, corners[chosen]).astype(np.float32)
    return points, chosen, weights


def centred(points: NDArray[np.floating]) -> Array:
    """The same shape with its box's middle at the origin and its longest side from -1 to 1."""
    low, high = points.min(0), points.max(0)
    scale = float((high - low).max()) / 2
    moved: Array = ((points - (low + high) / 2) / (scale or 1.0)).astype(np.float32)
    return moved


def farthest(points: Array, count: int) -> NDArray[np.int64]:
    """Indices (n,) of points that lie as far apart as can be, of (N, 3).

    The first is the one farthest from the mean, so the choice does not depend on the points' order.
    """
    x, y, z = (np.ascontiguousarray(axis, np.float32) for axis in points.T)
    distance = np.full(len(x), np.inf, np.float32)
    one, other = np.empty_like(distance), np.empty_like(distance)
    chosen = np.empty(count, np.int64)
    last = int(np.square(points - points.mean(0, dtype=np.float64)).sum(1).argmax())
    for i in range(count):
        chosen[i] = last
        np.square(np.subtract(x, x[last], out=one), out=one)
        for axis in (y, z):
            np.add(one, np.square(np.subtract(axis, axis[last], out=other), out=other), out=one)
        last = int(np.minimum(distance, one, out=distance).argmax())
    return chosen

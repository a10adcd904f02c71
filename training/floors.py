"""What no network should fall behind: the commonest answer, and trees on hand-made features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import local_binary_pattern
from sklearn.ensemble import ExtraTreesClassifier

from training.datasets.example import IGNORED, Classes, Pixels
from training.inputs import Prepared

Floats = NDArray[np.float64]
_TREES, _POINTS, _LEVELS = 200, 8, 5
_PIXEL_TREES, _PIXELS_PER_IMAGE, _DEPTH = 30, 200, 14
_SIGMAS = (1.0, 2.0, 4.0, 8.0)


def picture_features(prepared: Prepared) -> Floats:
    """Quantiles, edges and a histogram of local binary patterns, inside the breast if any."""
    inside = prepared.breast if prepared.breast.any() else np.ones_like(prepared.breast)
    found: list[float] = []
    for channel in prepared.image:
        values = channel[inside]
        found += [float(values.mean()), float(values.std())]
        found += np.quantile(values, np.linspace(0.05, 0.95, _LEVELS)).tolist()
        found += [
            float(ndimage.gaussian_gradient_magnitude(channel, sigma)[inside].mean())
            for sigma in _SIGMAS
        ]
    grey = prepared.image.mean(axis=0)
    low, high = float(grey.min()), float(grey.max())
    bytes_ = ((grey - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    patterns = local_binary_pattern(bytes_, _POINTS, 1.0, method="uniform")[inside]
    histogram = np.bincount(patterns.astype(np.intp), minlength=_POINTS + 2) / patterns.size
    return np.array([*found, *histogram, float(inside.mean())])


class ClassicalClassifier:
    """Extremely randomised trees on `picture_features` (Geurts et al., Mach Learn 63, 3 (2006))."""

    def __init__(self, classes: int, seed: int) -> None:
        self._classes = classes
        self._trees = ExtraTreesClassifier(
            _TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed
        )

    def fit(self, features: Floats, labels: NDArray[np.intp]) -> ClassicalClassifier:
        """Learn from ``(n, features)`` and ``(n,)``."""
        self._trees.fit(features, labels)
        return self

    def __call__(self, features: Floats) -> Floats:
        """Probabilities ``(n, classes)``."""
        found = np.zeros((len(features), self._classes))
        found[:, self._trees.classes_] = self._trees.predict_proba(features)
        return found


def pixel_features(image: Pixels) -> NDArray[np.float32]:
    """Blurred values and edges at four scales, ``(height * width, features)``."""
    layers = [
        layer
        for channel in image
        for sigma in _SIGMAS
        for layer in (
            ndimage.gaussian_filter(channel, sigma),
            ndimage.gaussian_gradient_magnitude(channel, sigma),
        )
    ]
    return np.stack(layers, axis=-1).reshape(-1, len(layers)).astype(np.float32)


class ClassicalSegmenter:
    """Trees on `pixel_features` of a few hundred pixels per training image."""

    def __init__(self, classes: int, seed: int) -> None:
        self._classes = classes
        self._draw = np.random.default_rng(seed)
        self._trees = ExtraTreesClassifier(
            _PIXEL_TREES, max_depth=_DEPTH, class_weight="balanced", random_state=seed
        )

    def fit(self, images: Sequence[tuple[Pixels, Classes]]) -> ClassicalSegmenter:
        """Learn from images and their masks, as many pixels of each class as there are."""
        features, labels = [], []
        for image, mask in images:
            rows = pixel_features(image)
            flat = mask.reshape(-1)
            for number in np.unique(flat[flat != IGNORED]):
                places = np.flatnonzero(flat == number)
                chosen = self._draw.choice(places, min(len(places), _PIXELS_PER_IMAGE), False)
                features.append(rows[chosen])
                labels.append(flat[chosen])
        self._trees.fit(np.concatenate(features), np.concatenate(labels))
        return self

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """Probabilities ``(classes, height, width)``."""
        found = np.zeros((self._classes, *image.shape[1:]), dtype=np.float32)
        answer = self._trees.predict_proba(pixel_features(image))
        for column, number in enumerate(self._trees.classes_):
            found[number] = answer[:, column].reshape(image.shape[1:])
        return found


def prevalence(labels: NDArray[np.intp], classes: int, count: int) -> Floats:
    """Answer that learned only how common each class is, ``(count, classes)``."""
    share = np.bincount(labels, minlength=classes) / max(len(labels), 1)
    return np.tile(share, (count, 1))

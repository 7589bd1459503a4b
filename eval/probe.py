"""The linear probe: what a linear classifier reads from the same frozen features that the connector gets.

A ceiling for one kind of question, not for the model: where the probe fails, no connector can succeed. It knows no
backbone.

Shapes: N = samples, T = tokens of one media file, F = encoder width.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from eval import EvalError
from eval.judge import correct
from eval.report import Probe
from modalities.base import Dataset, Modality, Sample, find
from modalities.checkpoint import Checkpoint, Store
from modalities.features import Features

ITERATIONS = 5000  # until lbfgs has converged; it needs some hundred


def probe_all(store: Store, checkpoint: Checkpoint, datasets: Mapping[str, Sequence[Dataset]]) -> tuple[Probe, ...]:
    """A probe for each kind of question about each modality that a checkpoint has learned."""
    return tuple(
        probe(store, modality, datasets[modality.name], topic)
        for modality in map(find, checkpoint.modalities)
        for topic in topics(datasets[modality.name])
    )


def topics(datasets: Sequence[Dataset]) -> list[str]:
    """The kinds of questions that are tested, and have a choice of answers with examples enough to learn from."""
    tested = dict.fromkeys(sample.topic for one in datasets if one.task == "qa" for sample in one.test)
    return [topic for topic in tested if _learnable(_samples(datasets, topic, "train"))]


def _learnable(samples: Sequence[Sample]) -> bool:
    """Two answers or more, and two examples of each on average."""
    answers = {sample.answers[0] for sample in samples}
    return 1 < len(answers) <= len(samples) / 2


def probe(store: Store, modality: Modality, datasets: Sequence[Dataset], topic: str) -> Probe:
    """Logistic regression on standardised, mean-pooled features; its answers are judged like the model's."""
    if topic not in (known := topics(datasets)):
        raise EvalError(f"{modality.name} has no questions on {topic!r} that a probe can learn; it has: {_list(known)}")
    train, test = _samples(datasets, topic, "train"), _samples(datasets, topic, "test")
    x = _pooled(store, modality, [*train, *test]).numpy()  # (N, F)
    labels = [sample.answers[0] for sample in train]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS)).fit(x[: len(train)], labels)
    said = [str(answer) for answer in classifier.predict(x[len(train) :])]
    most = Counter(labels).most_common(1)[0][0]
    return Probe(
        modality=modality.name,
        topic=topic,
        accuracy=_accuracy(said, test),
        majority=_accuracy([most] * len(test), test),
        n=len(test),
    )


def _samples(datasets: Sequence[Dataset], topic: str, split: str) -> list[Sample]:
    return [
        sample
        for one in datasets
        if one.task == "qa"
        for sample in (one.train if split == "train" else one.test)
        if sample.topic == topic
    ]


def _pooled(store: Store, modality: Modality, samples: Sequence[Sample]) -> Tensor:
    """The mean over T of each sample's features, (N, F)."""
    parts = [next(part for part in sample.prompt if part.modality == modality.name) for sample in samples]
    features, encoder = Features(store.features), modality.encoder(store.root).eval()
    features.fill(modality, encoder, parts)
    pooled = {part: features.get(modality, encoder, part).float().mean(0) for part in dict.fromkeys(parts)}  # F
    return torch.stack([pooled[part] for part in parts])


def _accuracy(said: Sequence[str], samples: Sequence[Sample]) -> float:
    return sum(correct(one, sample.answers) for one, sample in zip(said, samples, strict=True)) / len(samples)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"

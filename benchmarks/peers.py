"""What users train with today: five peers, each as its own manual or a competent user writes it.

Every peer trains all settings of some work on all of its folds and returns how long that took. All
use plain SGD with the same rates, widths, batches and epochs, and weight decay in the gradient;
torch's own decays biases too. Only (a) and (b) score the validation rows after every epoch, as we
do. (c) has no dropout. (e) is other work: Adam, and its own initial weights.
(c), (d) and (e) take one matrix: that of the first fold, scaled by its training rows.
"""

from __future__ import annotations

import itertools
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RandomizedSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases import Work, part_of
from selection.data.prepare import FoldData
from selection.study.setting import Setting


@dataclass(frozen=True)
class Outcome:
    """Hold what some training took, and the mean validation accuracy of its best setting."""

    member_epochs: int
    seconds: float
    score: float

    @property
    def rate(self) -> float:
        """Member-epochs per second."""
        return self.member_epochs / self.seconds


@dataclass(frozen=True)
class Peer:
    """Say who a peer is; is_threaded says whether torch's number of threads matters to it."""

    letter: str
    name: str
    run: Callable[[Work], Outcome]
    has_dropout: bool = True
    is_threaded: bool = True
    package: str = "torch"

    @property
    def is_installed(self) -> bool:
        return find_spec(self.package) is not None


def make_model(setting: Setting, inputs: int, outputs: int) -> nn.Sequential:
    """Stack one MLP as users do."""
    sizes = [inputs, *setting.widths]
    layers: list[nn.Module] = []
    for (fan_in, fan_out), chance in zip(itertools.pairwise(sizes), setting.dropout, strict=True):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        if chance:
            layers.append(nn.Dropout(chance))
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def accuracy(model: nn.Module, features: Tensor, targets: Tensor) -> float:
    """Score some rows in eval mode."""
    model.eval()
    with torch.inference_mode():
        return float((model(features).argmax(1) == targets).float().mean().item())


def train_with_loader(setting: Setting, fold: FoldData) -> float:
    """Train one member from a DataLoader; return its last validation accuracy."""
    training, validation = _tensors(fold, fold.training), _tensors(fold, fold.validation)
    loader = DataLoader(TensorDataset(*training), setting.kind.batch_size, shuffle=True)
    model = make_model(setting, fold.features.shape[1], fold.classes)
    optimizer = _sgd(model, setting)
    score = 0.0
    for _ in range(setting.kind.epochs):
        model.train()
        for features, targets in loader:
            _step(model, optimizer, features, targets)
        score = accuracy(model, *validation)
    return score


def train_resident(setting: Setting, fold: FoldData) -> float:
    """Train one member from tensors in memory, in a new order per epoch."""
    features, targets = _tensors(fold, fold.training)
    validation = _tensors(fold, fold.validation)
    model = make_model(setting, fold.features.shape[1], fold.classes)
    optimizer = _sgd(model, setting)
    score = 0.0
    for _ in range(setting.kind.epochs):
        model.train()
        for rows in torch.randperm(len(targets)).split(setting.kind.batch_size):  # type: ignore[no-untyped-call]
            _step(model, optimizer, features[rows], targets[rows])
        score = accuracy(model, *validation)
    return score


def _tensors(fold: FoldData, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(fold.features[rows]), torch.from_numpy(fold.targets[rows])


def _sgd(model: nn.Module, setting: Setting) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(), setting.learning_rate, weight_decay=setting.weight_decay
    )


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, features: Tensor, targets: Tensor
) -> None:
    optimizer.zero_grad()
    cross_entropy(model(features), targets).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def under_optuna(work: Work, score: Callable[[Setting], float]) -> Outcome:
    """Let Optuna ask for every setting in turn, in memory, and be told its mean over the folds."""
    settings = iter(work.settings)

    def objective(trial: optuna.Trial) -> float:
        setting = next(settings)
        trial.suggest_float("learning_rate", 1e-4, 10.0, log=True)
        return score(setting)

    torch.manual_seed(0)
    begun = time.perf_counter()
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for setting in work.settings:
        study.enqueue_trial({"learning_rate": setting.learning_rate})
    study.optimize(objective, n_trials=len(work.settings))
    return Outcome(work.member_epochs, time.perf_counter() - begun, study.best_value)


def optuna_with_loader(work: Work) -> Outcome:
    return under_optuna(
        work,
        lambda setting: statistics.fmean(train_with_loader(setting, fold) for fold in work.folds),
    )


def optuna_resident(work: Work) -> Outcome:
    return under_optuna(
        work,
        lambda setting: statistics.fmean(train_resident(setting, fold) for fold in work.folds),
    )


def randomized_search(work: Work) -> Outcome:
    """Search with scikit-learn on all cores; each setting is one point, drawn once."""
    first = work.settings[0]
    points = [
        {
            "hidden_layer_sizes": [setting.widths],
            "learning_rate_init": [setting.learning_rate],
            # scikit-learn divides the penalty by the rows of a batch.
            "alpha": [setting.weight_decay * setting.kind.batch_size],
        }
        for setting in work.settings
    ]
    model = MLPClassifier(
        solver="sgd",
        momentum=0.0,
        batch_size=first.kind.batch_size,
        max_iter=first.kind.epochs,
        n_iter_no_change=first.kind.epochs + 1,
        random_state=0,
    )
    search = RandomizedSearchCV(
        model, points, n_iter=len(points), cv=_pairs(work), n_jobs=-1, refit=False, random_state=0
    )
    with warnings.catch_warnings():
        # It has not converged: all its epochs are what is compared.
        warnings.simplefilter("ignore", ConvergenceWarning)
        begun = time.perf_counter()
        search.fit(work.folds[0].features, work.folds[0].targets)
        seconds = time.perf_counter() - begun
    return Outcome(work.member_epochs, seconds, float(search.best_score_))


def skorch_cross_val_score(work: Work) -> Outcome:
    from skorch import NeuralNetClassifier

    fold = work.folds[0]

    def score(setting: Setting) -> float:
        net = NeuralNetClassifier(
            make_model(setting, fold.features.shape[1], fold.classes),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD,
            optimizer__weight_decay=setting.weight_decay,
            lr=setting.learning_rate,
            batch_size=setting.kind.batch_size,
            max_epochs=setting.kind.epochs,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        )
        scores = cross_val_score(
            net, fold.features, fold.targets, cv=_pairs(work), scoring="accuracy"
        )
        return float(scores.mean())

    return under_optuna(work, score)


def realmlp_folds(work: Work) -> Outcome:
    """Train the first setting on all folds at once with pytabkit, stripped to a plain MLP."""
    with _quiet_lightning():
        from pytabkit import RealMLP_TD_Classifier

        setting, fold = work.settings[0], work.folds[0]
        # It wants folds of equal size.
        size = min(len(each.validation) for each in work.folds)
        validation = np.stack([each.validation[:size] for each in work.folds])
        model = RealMLP_TD_Classifier(
            device="cpu",
            random_state=0,
            n_cv=len(work.folds),
            n_refit=0,
            n_threads=torch.get_num_threads(),
            n_epochs=setting.kind.epochs,
            batch_size=setting.kind.batch_size,
            hidden_sizes=list(setting.widths),
            p_drop=max(setting.dropout),
            act="relu",
            use_parametric_act=False,
            num_emb_type="none",
            add_front_scale=False,
            tfms=["one_hot"],
            use_ls=False,
            use_early_stopping=False,
        )
        begun = time.perf_counter()
        model.fit(fold.features, fold.targets, val_idxs=validation)
        seconds = time.perf_counter() - begun
        # The folds' models answer together, so these rows are not held out of all of them.
        score = model.score(fold.features, fold.targets)
    return Outcome(len(work.folds) * setting.kind.epochs, seconds, float(score))


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _pairs(work: Work) -> list[tuple[Any, Any]]:
    return [(fold.training, fold.validation) for fold in work.folds]


PEERS = (
    Peer("a", "Optuna, KFold and a DataLoader loop", optuna_with_loader),
    Peer("b", "the same with tensors in memory", optuna_resident),
    Peer(
        "c",
        "RandomizedSearchCV(MLPClassifier) on all cores",
        randomized_search,
        has_dropout=False,
        is_threaded=False,
        package="sklearn",
    ),
    Peer("d", "skorch and cross_val_score under Optuna", skorch_cross_val_score, package="skorch"),
    Peer("e", "pytabkit's RealMLP, folds as one program", realmlp_folds, package="pytabkit"),
)


def calibrated(peer: Peer, work: Work, cores: int) -> int:
    """Return the faster of one thread and all, after a first run that pays for late imports."""
    small = part_of(replace(work, folds=work.folds[:2]), 1, 1)
    peer.run(small)
    if not peer.is_threaded:
        return 1
    seconds = {}
    for threads in (1, cores):
        torch.set_num_threads(threads)
        seconds[threads] = min(peer.run(small).seconds for _ in range(2))
    return min(seconds, key=lambda threads: seconds[threads])

"""Definitions of the scores and of their 95 % intervals, from counts.

The definitions are scikit-learn's (`precision_recall_fscore_support`, `balanced_accuracy_score`, `log_loss`), written
on counts so that a thousand resamples cost a fraction of a second.

Papers: Wilson 1927 (interval of a proportion); Efron 1979 (bootstrap); Guo et al. 2017, arXiv:1706.04599, equation 3
(expected calibration error); Hand, Christen and Kirielle 2021, arXiv:2008.00103 (F* = F1 / (2 - F1), a proportion).

Shape letters: N samples, K classes, R resamples, M calibration bins.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

Z = 1.959963984540054  # a normal variable is within +-Z with a probability of 95 %
BINS = 15
SMALLEST = float(np.finfo(np.float32).eps)  # log_loss takes no probability for smaller than this, as scikit-learn does
LARGEST_LOSS = float(-np.log(SMALLEST))


@dataclass(frozen=True)
class Score:
    """A score and its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self, digits: int = 6) -> dict[str, float]:
        """Return the three numbers, rounded, as JSON holds them."""
        return {name: round(getattr(self, name), digits) for name in ("value", "low", "high")}


def wilson(successes: int, trials: int) -> Score | None:
    """Score a proportion: `successes / trials` with Wilson's interval.

    Returns:
        None where there was no trial: the proportion is undefined.
    """
    if trials == 0:
        return None
    share = successes / trials
    denominator = 1 + Z**2 / trials
    center = (share + Z**2 / (2 * trials)) / denominator
    reach = Z / denominator * float(np.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2)))
    # at the ends the formula gives exactly 0 and 1, which rounding would miss by 1e-17
    low = 0.0 if successes == 0 else center - reach
    high = 1.0 if successes == trials else center + reach
    return Score(share, low, high)


def f1_score(hits: int, samples: int, predicted: int) -> Score | None:
    """Score the harmonic mean of precision and recall of one class, `2 hits / (samples + predicted)`.

    F* = F1 / (2 - F1) = hits / (samples + predicted - hits) is a proportion, so Wilson's interval of F*, carried back
    by F1 = 2 F* / (1 + F*), is one of F1; a bootstrap would claim [1, 1] for a class without a mistake.

    Returns:
        None where the class has no sample and was never predicted.
    """
    star = wilson(hits, samples + predicted - hits)
    if star is None:
        return None
    low, high = (2 * bound / (1 + bound) for bound in (star.low, star.high))
    return Score(2 * hits / (samples + predicted), low, high)


def macro_scores(hits: Integers, samples: Integers, predicted: Integers) -> dict[str, Floats]:
    """Average precision, recall and F1 over the classes that have samples, every class counting the same.

    A class that has samples and was never predicted has a precision of 0 here
    (`labels=those with samples, zero_division=0` in scikit-learn).

    Args:
        hits: (..., K) samples of each class that were predicted as it.
        samples: (..., K) samples of each class.
        predicted: (..., K) samples that were predicted as each class.

    Returns:
        (...) macro_precision, macro_recall (the balanced accuracy, by definition) and macro_f1.
    """
    present = samples > 0
    parts = {
        "macro_precision": hits / np.maximum(predicted, 1),
        "macro_recall": hits / np.maximum(samples, 1),
        "macro_f1": 2 * hits / np.maximum(samples + predicted, 1),
    }
    classes = np.maximum(present.sum(-1), 1)
    return {name: np.where(present, part, 0.0).sum(-1) / classes for name, part in parts.items()}


def bin_of(confidences: Floats) -> Integers:
    """Return which of the M bins ((m - 1)/M, m/M] holds each confidence, from 0: (N,) -> (N,)."""
    return np.clip(np.ceil(confidences * BINS) - 1, 0, BINS - 1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What the scores need to know of each sample whose class is known; all (N,)."""

    targets: Integers
    predicted: Integers
    confidences: Floats
    losses: Floats
    classes: int

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each prediction is right."""
        return self.targets == self.predicted


@dataclass(frozen=True)
class CalibrationBin:
    """The samples whose confidence lies in (low, high], and how many of their predictions are right."""

    low: float
    high: float
    samples: int
    confidence: float | None  # mean confidence; None: the bin is empty
    accuracy: float | None


def calibration_of(outcomes: Outcomes) -> tuple[CalibrationBin, ...]:
    """Sort the samples into bins of equal width by confidence."""
    bins = bin_of(outcomes.confidences)
    rows: list[CalibrationBin] = []
    for number in range(BINS):
        inside = bins == number
        count = int(inside.sum())
        confidence = float(outcomes.confidences[inside].mean()) if count else None
        accuracy = float(outcomes.correct[inside].mean()) if count else None
        rows.append(CalibrationBin(number / BINS, (number + 1) / BINS, count, confidence, accuracy))
    return tuple(rows)


def averages(outcomes: Outcomes, drawn: Integers) -> dict[str, Floats]:
    """Score R resamples of the samples at once; one of them may be the samples themselves.

    Args:
        outcomes: N samples.
        drawn: (R, N) which samples each resample holds.

    Returns:
        (R,) macro scores, log_loss and calibration_error, by name.
    """
    resamples, count = drawn.shape
    classes = outcomes.classes

    def tally(codes: Integers, kinds: int, weights: Floats | None = None) -> NDArray[Any]:
        rows = codes[drawn] + kinds * np.arange(resamples)[:, None]
        carried = None if weights is None else weights[drawn].ravel()
        return np.bincount(rows.ravel(), carried, minlength=resamples * kinds).reshape(resamples, kinds)

    # misses are tallied in a column of their own that is then dropped
    hits = tally(np.where(outcomes.correct, outcomes.targets, classes), classes + 1)[:, :classes]
    result = macro_scores(
        hits.astype(np.int64),
        tally(outcomes.targets, classes).astype(np.int64),
        tally(outcomes.predicted, classes).astype(np.int64),
    )
    gaps = tally(bin_of(outcomes.confidences), BINS, outcomes.correct - outcomes.confidences)
    result["calibration_error"] = np.abs(gaps).sum(1) / count
    result["log_loss"] = outcomes.losses[drawn].mean(1)
    return result


def unseen(value: float, trials: float, largest: float) -> Score:
    """Give an interval to the mean of `trials` equal values, of which a bootstrap knows nothing.

    Values that never came up in n trials have a share of at most Z^2 / (n + Z^2), Wilson's bound for n of n, and may
    lie anywhere from 0 to `largest`.
    """
    share = Z**2 / (trials + Z**2)
    return Score(value, value * (1 - share), value * (1 - share) + largest * share)


def bootstrap(outcomes: Outcomes, *, resamples: int = 1000, seed: int = 0) -> dict[str, Score]:
    """Score what is no simple proportion, with percentile intervals from seeded resamples of the samples.

    The intervals are shifted so that the resamples' mean is the score: noise alone makes a resample's calibration
    error larger than the samples' own, so that an unshifted interval may not even hold the score. Where all resamples
    score the same, `unseen` gives the interval; the number of trials behind a macro score is then K times the harmonic
    mean of the classes' numbers of samples.

    Args:
        outcomes: The samples.
        resamples: How many times they are drawn again, with replacement.
        seed: Of the draws.

    Returns:
        macro_precision, macro_recall, macro_f1, calibration_error, log_loss.
    """
    count = len(outcomes.targets)
    generator = np.random.Generator(np.random.Philox(key=seed))
    values = {name: float(value[0]) for name, value in averages(outcomes, np.arange(count)[None]).items()}
    # a million draws at a time: a few dozen megabytes
    step = int(np.clip(1_000_000 // count, 1, resamples))
    parts = [
        averages(outcomes, generator.integers(0, count, (min(step, resamples - start), count)))
        for start in range(0, resamples, step)
    ]
    samples = np.bincount(outcomes.targets, minlength=outcomes.classes)
    samples = samples[samples > 0]
    balanced = float(len(samples) ** 2 / (1 / samples).sum())
    scores: dict[str, Score] = {}
    for name, value in values.items():
        drawn = np.concatenate([part[name] for part in parts])
        largest = LARGEST_LOSS if name == "log_loss" else 1.0
        if np.ptp(drawn) < 1e-12:
            scores[name] = unseen(value, balanced if name.startswith("macro") else count, largest)
            continue
        low, high = np.clip(np.quantile(drawn - drawn.mean() + value, [0.025, 0.975]), 0.0, largest)
        scores[name] = Score(value, min(float(low), value), max(float(high), value))
    return scores

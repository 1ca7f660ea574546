"""Whatever the predictions, scores lie in their intervals, in their range, and agree with scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from plusx.evaluation.evaluate import Predictions, evaluate
from plusx.evaluation.scores import f1_score, wilson


@st.composite
def stored(draw):
    """Predictions of 1 to 30 samples in 2 to 9 classes, sure and unsure ones, ties among them."""
    count, classes = draw(st.integers(1, 30)), draw(st.integers(2, 9))
    logits = draw(arrays.arrays(np.float64, (count, classes), elements=st.integers(-9, 9)))
    targets = draw(arrays.arrays(np.int64, count, elements=st.integers(0, classes - 1)))
    rows = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = tuple(str(index) for index in range(count))
    return Predictions(names, targets, rows.astype(np.float32), tuple("abcdefghi"[:classes]))


@settings(max_examples=60, deadline=None)
@given(stored())
def test_scores_lie_in_their_intervals_and_agree_with_scikit_learn(predictions):
    evaluation = evaluate(predictions, "test", resamples=20)
    true, said = predictions.targets, predictions.predicted
    for name, score in evaluation.scores.items():
        assert 0 <= score.low <= score.value <= score.high, name
        assert score.high <= (17 if name == "log_loss" else 1), name
    for row in evaluation.per_class:
        for score in (row.precision, row.recall, row.f1):
            assert score is None or 0 <= score.low <= score.value <= score.high <= 1
    present = np.unique(true)
    options = {"labels": present, "average": "macro", "zero_division": 0}
    assert evaluation.scores["macro_f1"].value == pytest.approx(metrics.f1_score(true, said, **options))
    precision = metrics.precision_score(true, said, **options)
    assert evaluation.scores["macro_precision"].value == pytest.approx(precision)
    assert evaluation.scores["balanced_accuracy"].value == pytest.approx(metrics.recall_score(true, said, **options))
    assert evaluation.confusion.sum() == len(true)
    assert sum(b.samples for b in evaluation.calibration) == len(true)
    assert len(evaluation.mistakes) == (true != said).sum()


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_wilson_is_symmetric_and_holds_its_share(successes, more):
    trials = successes + more
    score, mirrored = wilson(successes, trials), wilson(more, trials)
    assert 0 <= score.low <= score.value <= score.high <= 1
    assert score.low == pytest.approx(1 - mirrored.high, abs=1e-12)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_f1_holds_its_value_and_a_hit_more_is_better(hits, missed, wrong):
    score, better = f1_score(hits, hits + missed, hits + wrong), f1_score(hits + 1, hits + missed + 1, hits + wrong + 1)
    assert better is not None
    if score is None:
        return
    assert 0 <= score.low <= score.value <= score.high <= 1
    assert better.low >= score.low
    assert better.value >= score.value

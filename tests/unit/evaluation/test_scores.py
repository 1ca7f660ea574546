"""Definitions and intervals: against published values, scikit-learn and the theory."""

import time

import numpy as np
import pytest
from sklearn import metrics

from plusx.evaluation import scores
from plusx.evaluation.scores import Outcomes, Score


def outcomes(targets, predicted, confidences=None, losses=None, classes=3):
    count = len(targets)
    confidences = np.full(count, 0.8) if confidences is None else np.asarray(confidences, float)
    losses = np.full(count, 0.2) if losses is None else np.asarray(losses, float)
    return Outcomes(np.asarray(targets, np.int64), np.asarray(predicted, np.int64), confidences, losses, classes)


def test_wilson_gives_the_known_interval():
    score = scores.wilson(357, 360)
    assert score.to_dict(4) == {"value": 0.9917, "low": 0.9758, "high": 0.9972}


@pytest.mark.parametrize(("successes", "trials", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)])
def test_wilson_at_the_ends_is_not_empty(successes, trials, low, high):
    score = scores.wilson(successes, trials)
    assert (score.low, score.high) == pytest.approx((low, high), abs=1e-4)
    assert score.low == 0.0 or score.high == 1.0  # exactly


def test_wilson_of_nothing_is_undefined():
    assert scores.wilson(0, 0) is None


def test_f1_and_its_interval_come_from_a_proportion():
    score = scores.f1_score(hits=8, samples=10, predicted=9)
    star = scores.wilson(8, 11)
    assert score.value == pytest.approx(16 / 19)
    assert score.low / (2 - score.low) == pytest.approx(star.low)
    assert score.high / (2 - score.high) == pytest.approx(star.high)


def test_f1_of_a_class_that_is_neither_there_nor_predicted_is_undefined():
    assert scores.f1_score(0, 0, 0) is None


def test_the_f1_interval_covers_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(0)
    cells = generator.multinomial(200, [0.3, 0.06, 0.04, 0.6], size=4000)
    true = 2 * 0.3 / (2 * 0.3 + 0.06 + 0.04)
    covered = [
        score.low <= true <= score.high
        for hits, missed, wrong, _ in cells.tolist()
        if (score := scores.f1_score(hits, hits + missed, hits + wrong))
    ]
    assert 0.93 < np.mean(covered) < 0.97


def test_macro_scores_average_over_the_classes_that_have_samples():
    # class 2 has no sample but is predicted once; class 1 is never predicted
    macro = scores.macro_scores(np.array([1, 0, 0]), np.array([2, 1, 0]), np.array([2, 0, 1]))
    assert macro["macro_precision"] == pytest.approx(0.25)
    assert macro["macro_recall"] == pytest.approx(0.25)
    assert macro["macro_f1"] == pytest.approx(0.25)


def test_bins_are_closed_above():
    assert scores.bin_of(np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 1.0])).tolist() == [0, 0, 1, 14]


def test_calibration_error_is_that_of_the_paper():
    # two bins: |1/2 - 0.62| * 2/4 + |2/2 - 0.95| * 2/4
    sample = outcomes([0, 1, 2, 0], [0, 0, 2, 0], [0.62, 0.62, 0.95, 0.95])
    assert scores.bootstrap(sample, resamples=2)["calibration_error"].value == pytest.approx(0.085)
    rows = scores.calibration_of(sample)
    assert [row.samples for row in rows if row.samples] == [2, 2]
    assert rows[9].confidence == pytest.approx(0.62)
    assert rows[9].accuracy == 0.5
    assert rows[0].accuracy is None


def test_a_resample_of_the_samples_themselves_scores_like_scikit_learn():
    generator = np.random.default_rng(1)
    targets, predicted = generator.integers(0, 4, 300), generator.integers(0, 4, 300)
    drawn = generator.integers(0, 300, (3, 300))
    found = scores.averages(outcomes(targets, predicted, losses=generator.random(300), classes=4), drawn)
    for row, chosen in enumerate(drawn):
        true, said = targets[chosen], predicted[chosen]
        assert found["macro_f1"][row] == pytest.approx(metrics.f1_score(true, said, average="macro"))
        assert found["macro_precision"][row] == pytest.approx(metrics.precision_score(true, said, average="macro"))
        assert found["macro_recall"][row] == pytest.approx(metrics.balanced_accuracy_score(true, said))


def test_the_bootstrap_interval_of_a_mean_is_that_of_the_normal_approximation():
    losses = np.random.default_rng(2).exponential(size=2000)
    score = scores.bootstrap(outcomes([0] * 2000, [0] * 2000, losses=losses))["log_loss"]
    reach = scores.Z * losses.std() / np.sqrt(2000)
    assert score.high - score.value == pytest.approx(reach, rel=0.15)
    assert score.value - score.low == pytest.approx(reach, rel=0.15)


def test_the_calibration_interval_holds_the_score_of_a_calibrated_network():
    generator = np.random.default_rng(3)
    confidences = generator.uniform(0.5, 1.0, 400)
    predicted = (generator.random(400) > confidences).astype(np.int64)
    score = scores.bootstrap(outcomes(np.zeros(400), predicted, confidences))["calibration_error"]
    # resamples alone would lie above the score nearly always
    assert 0.25 < (score.value - score.low) / (score.high - score.low) < 0.75


def test_no_mistake_still_has_an_interval():
    score = scores.bootstrap(outcomes([0, 1, 2] * 40, [0, 1, 2] * 40))["macro_f1"]
    accuracy = scores.wilson(120, 120)
    assert score.value == score.high == 1.0
    assert score.low == pytest.approx(accuracy.low)


def test_one_sample_has_wide_intervals():
    found = scores.bootstrap(outcomes([1], [2], [0.9], [2.0]))
    assert found["macro_f1"] == Score(0.0, 0.0, pytest.approx(0.793, abs=1e-3))
    assert found["log_loss"].low < 2.0 < found["log_loss"].high < scores.LARGEST_LOSS


def test_the_seed_decides():
    generator = np.random.default_rng(4)
    sample = outcomes(generator.integers(0, 3, 60), generator.integers(0, 3, 60), generator.random(60))
    assert scores.bootstrap(sample) == scores.bootstrap(sample)
    assert scores.bootstrap(sample) != scores.bootstrap(sample, seed=1)


def test_ten_thousand_samples_of_a_hundred_classes_take_less_than_two_seconds():
    generator = np.random.default_rng(5)
    targets, predicted = generator.integers(0, 100, (2, 10_000))
    sample = outcomes(targets, predicted, generator.random(10_000), generator.random(10_000), classes=100)
    began = time.process_time()
    scores.bootstrap(sample)
    assert time.process_time() - began < 2

"""Peaks are medians, and are divided by plusx's."""


def test_peaks_are_divided_by_ours(benchmark):
    rows_of = benchmark("peak_memory").rows_of
    found = {
        "theirs": [{"resident": 300.0, "workers": 10.0}, {"resident": 500.0, "workers": 20.0}],
        "plusx": [{"resident": 200.0, "workers": 5.0}],
    }
    theirs, ours = rows_of(found)
    assert (theirs["peak"], theirs["low"], theirs["high"], theirs["workers"]) == (400.0, 300.0, 500.0, 15.0)
    assert (theirs["ratio"], ours["ratio"], ours["where"]) == (2.0, 1.0, "resident")
    assert "ratio" not in rows_of({"theirs": found["theirs"]})[0]


def test_on_a_gpu_its_memory_counts(benchmark):
    rows_of = benchmark("peak_memory").rows_of
    found = {name: [{"resident": 1.0, "gpu": peak}] for name, peak in {"theirs": 30.0, "plusx": 20.0}.items()}
    assert [(row["where"], row["peak"], row["ratio"]) for row in rows_of(found)] == [("gpu", 30, 1.5), ("gpu", 20, 1)]

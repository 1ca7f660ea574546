"""Rivals take turns, are frozen meanwhile, and one that fails does so by itself; ratios are taken round by round."""

import json
import sys
import time

import pytest

SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
import turns
turns.wait_for_gpu = lambda: {}
turn = turns.Turn()
print("this goes to the log")
if "fail" in sys.argv:
    raise ValueError("no such photo")
while True:
    time.sleep(0.002)
    turn(8)
"""


@pytest.fixture
def turns(benchmark):
    return benchmark("turns")


@pytest.fixture
def rival(turns, tmp_path):
    made = []

    def make(*words):
        command = [sys.executable, "-c", SCRIPT, str(benchmarks(turns)), *words]
        made.append(turns.Rival("one", command, tmp_path / "log.txt"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def benchmarks(module):
    return module.Path(module.__file__).parent


def test_a_rival_makes_the_steps_it_is_told_and_rests_in_between(rival):
    one = rival()
    assert one.take()["steps"] == 1
    time.sleep(0.3)  # frozen: this is in nobody's time
    answer = one.take(5)
    assert (answer["steps"], answer["images"]) == (5, 40)
    assert 0.01 <= answer["seconds"] < 0.25
    assert answer["resident"] > 5
    one.close()
    assert one.process.returncode == 0


def test_a_rival_that_fails_says_why(rival):
    one = rival("fail")
    assert one.take() is None
    assert one.error == "ValueError: no such photo"
    assert one.take(3) is None


def test_the_memory_of_workers_is_counted(turns, rival):
    one = rival()
    one.take()
    assert turns.private(one.process.pid) > 1000
    assert one.process.pid in turns.children(turns.os.getpid())
    assert turns.private(2**22 - 1) == 0


def test_ratios_are_of_the_same_round(turns):
    rows = turns.compared({"slow": [10.0, 20.0, 5.0], "ours": [20.0, 60.0, 20.0]}, "ours")
    assert rows[0] == {
        "name": "slow", "images": 10.0, "low": 5.0, "high": 20.0, "rounds": 3, "ratio": 3.0, "ratio_low": 2.0,
        "ratio_high": 4.0,
    }  # fmt: skip
    assert rows[1]["ratio"] == 1.0
    assert "ratio" not in turns.compared({"slow": [1.0]}, "ours")[0]


def test_a_trial_does_not_take_a_fuller_results_place(turns, tmp_path, capsys):
    file = tmp_path / "results" / "loops.json"

    def stores(counted="rounds", **rivals):
        rows = [{"name": name, counted: count} for name, count in rivals.items()]
        turns.store(file, {"rows": rows}, counted)
        stored = {row["name"]: row[counted] for row in json.loads(file.read_text())["rows"]} == rivals
        return stored, "Not written: loops.json has more rivals or" in capsys.readouterr().out

    assert stores(plain=5, compiled=5) == (True, False)
    assert stores(plain=5) == (False, True)
    assert stores(plain=5, compiled=4) == (False, True)
    assert stores(plain=5, compiled=5, fastai=5) == (True, False)
    assert stores(plain=6, compiled=6, fastai=6, more=6) == (True, False)


def test_rivals_of_different_work_are_different(turns, tmp_path):
    file = tmp_path / "input_path.json"
    rows = [{"work": work, "name": "plusx", "turns": 7} for work in ("32 px", "photos")]
    turns.store(file, {"rows": rows}, "turns")
    turns.store(file, {"rows": rows[:1]}, "turns")
    assert json.loads(file.read_text())["rows"] == rows


def test_the_size_of_files_does_not_make_another_work(turns, tmp_path):
    file = tmp_path / "input_path.json"
    for size in (96, 104):
        turns.store(file, {"rows": [{"work": f"1024x768 ({size} kB) to 224", "name": "plusx", "turns": 7}]}, "turns")
    assert json.loads(file.read_text())["rows"][0]["work"] == "1024x768 (104 kB) to 224"

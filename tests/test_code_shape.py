"""The shape of the house: names, sizes, imports, papers. Which layer may import which, import-linter checks."""

import ast
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import plusx
from plusx.network.architectures import ARCHITECTURES
from plusx.network.blocks import BLOCKS
from plusx.network.shortcuts import SHORTCUTS
from plusx.training.recipe import OPTIMIZERS, SCHEDULES
from plusx.training.recipes import RECIPES

ROOT = Path(plusx.__file__).parent
MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
FORBIDDEN = {
    "utils", "util", "helpers", "helper", "common", "misc", "base", "core", "engine", "manager", "factory", "builder",
    "registry", "wrapper", "handler",
}  # fmt: skip
LONGEST = 300

modules = pytest.mark.parametrize("name", MODULES)


def test_there_is_something_to_look_at():
    assert {"__init__.py", "experiment.py", "cli/__init__.py", "network/backbone.py"} <= set(MODULES)


def test_public_names_are_sorted_and_each_has_its_home():
    # Constants, then classes, then the rest: isort's order, which the linter keeps.
    assert len(set(plusx.__all__)) == len(plusx.__all__)
    kinds = [(0 if name.isupper() else 1 if name[0].isupper() else 2, name) for name in plusx.__all__]
    assert kinds == sorted(kinds)
    assert set(plusx.HOMES) == set(plusx.__all__) - {"__version__"}
    assert dir(plusx) == sorted(plusx.__all__)


@pytest.mark.parametrize("name", plusx.__all__)
def test_a_public_name_can_be_imported_from_its_home(name):
    value = getattr(plusx, name)
    if name == "__version__":
        assert isinstance(value, str)
        return
    home = plusx.HOMES[name]
    assert value is getattr(import_module(home), name)
    assert getattr(value, "__module__", home) == home


def test_what_type_checkers_see_is_what_is_imported():
    guarded = next(node for node in TREES["__init__.py"].body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == plusx.HOMES


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'plusx' has no attribute 'trian'"):
        plusx.trian  # noqa: B018


def loaded_by(code):
    """The modules that a fresh Python has loaded after some code."""
    script = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    environment = {"PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=environment, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {"torch", "torchvision", "numpy", "sklearn", "matplotlib", "PIL", "safetensors"}


@pytest.mark.parametrize(
    "code",
    [
        "import plusx",
        "import plusx; plusx.__version__; dir(plusx); plusx.UsageError",
        "import plusx; plusx.ARCHITECTURES; plusx.RECIPES",
        "import plusx.network.architectures, plusx.training.recipe",
        "import plusx.cli",
    ],
)
def test_light_imports_load_nothing_heavy(code):
    assert not loaded_by(code) & HEAVY


def test_heavy_imports_are_seen_by_the_test_above():
    assert HEAVY & loaded_by("import plusx; plusx.Predictor") >= {"torch", "numpy"}


@modules
def test_a_module_is_short(name):
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{name} has {lines} lines: it is asking to become two"


@modules
def test_a_module_is_named_after_what_it_holds(name):
    assert not set(Path(name).with_suffix("").parts) & FORBIDDEN


@modules
def test_a_module_opens_with_a_sentence(name):
    text = ast.get_docstring(TREES[name])
    assert text, f"{name} has no docstring"
    # The first sentence may run over two lines; it ends as sentences do.
    assert text.split("\n\n")[0].rstrip().endswith((".", ":")), text.split("\n\n")[0]


def public_things(tree, prefix=""):
    """Public classes, their public methods, and public functions, with their names."""
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_things(node, f"{node.name}.")


@modules
def test_every_public_thing_says_what_it_is(name):
    assert [thing for thing, node in public_things(TREES[name]) if not ast.get_docstring(node)] == []


@modules
def test_imports_are_absolute(name):
    nodes = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in nodes if node.level] == []


def prints(tree):
    """Line numbers of what writes to the terminal."""
    return sorted(
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id == "print")
        or (isinstance(node, ast.Attribute) and node.attr in {"stdout", "stderr", "__stdout__", "__stderr__"})
    )


@modules
def test_only_the_command_line_prints(name):
    assert name.startswith("cli/") or prints(TREES[name]) == []


def test_printing_is_recognized():
    assert prints(ast.parse("import sys\nprint(1)\nsys.stdout.write('2')\nmap(print, [])")) == [2, 3, 4]


def unpickling(tree):
    """Line numbers of what could run code of a file: the pickle modules, and torch.load without weights_only=True."""
    modules = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    safe = {
        call.func
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "weights_only" and getattr(keyword.value, "value", None) is True
    }
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            lines += [node.lineno for alias in node.names if alias.name in modules]
        elif isinstance(node, ast.ImportFrom):
            lines += [node.lineno] if node.module in modules else []
        elif isinstance(node, ast.Attribute) and node.attr == "load" and getattr(node.value, "id", "") == "torch":
            lines += [] if node in safe else [node.lineno]
    return lines


@modules
def test_nothing_is_unpickled(name):
    assert unpickling(TREES[name]) == []


def test_unpickling_is_recognized():
    assert unpickling(ast.parse("torch.load(f, weights_only=True)")) == []
    for code in (
        "import pickle",
        "from pickle import loads",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "torch.load(f, weights_only=careful)",
        "read = torch.load",
    ):
        assert unpickling(ast.parse(code)) == [1], code


@pytest.mark.parametrize("table", ["ARCHITECTURES", "RECIPES"])
def test_an_entry_bears_its_own_name(table):
    assert all(entry.name == name for name, entry in getattr(plusx, table).items())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_its_paper_and_the_place_in_it(name):
    paper = ARCHITECTURES[name].paper
    assert "arXiv:" in paper
    assert any(place in paper for place in ("table", "section", "figure", "equation"))


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_has_its_paper_and_the_place_in_it(name):
    text = inspect.getdoc(BLOCKS[name])
    assert "arXiv:" in text
    assert any(place in text for place in ("table", "section", "figure", "equation"))


@pytest.mark.parametrize("name", SHORTCUTS)
def test_a_shortcut_has_its_paper_and_the_place_in_it(name):
    text = inspect.getdoc(SHORTCUTS[name])
    assert "arXiv:" in text
    assert any(place in text for place in ("table", "section", "figure", "equation"))


def test_optimizers_and_schedules_name_their_papers_or_are_everyones():
    lacking = {name for name, text in {**OPTIMIZERS, **SCHEDULES}.items() if "arXiv:" not in text}
    assert lacking <= {"sgd", "constant", "plateau"}


def test_every_recipe_fits_the_parts_that_it_changes():
    from plusx.plan import coerced

    for recipe in RECIPES.values():
        for part in ("input", "task", "architecture"):
            assert coerced(part, getattr(recipe, part)) == getattr(recipe, part)

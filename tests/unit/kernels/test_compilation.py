"""The kernels are compiled once, kept whole, and their absence is a sentence."""

import ctypes
from concurrent.futures import ThreadPoolExecutor

import pytest
from compiled_kernels import NEEDED, turned_off

from plusx.kernels import compilation, library
from plusx.kernels.compilation import Unavailable, cache_folder, compiled, is_whole
from plusx.kernels.library import describe

ANSWER = 'extern "C" int plusx_answer() { return 42; }\n'


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """One tiny source, and a cache of its own."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "answer.cpp").write_text(ANSWER)
    monkeypatch.setattr(compilation, "SOURCES", sources)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return sources


def answer(file):
    return ctypes.CDLL(str(file)).plusx_answer()


@NEEDED
def test_the_library_is_compiled_once(tiny):
    first = compiled()
    written = first.stat().st_mtime_ns
    assert first.parent == cache_folder() == tiny.parent / "cache" / "plusx" / "kernels"
    assert answer(first) == 42
    assert compiled() == first
    assert first.stat().st_mtime_ns == written
    assert [path.name for path in first.parent.iterdir()] == [first.name]


@NEEDED
def test_another_source_is_another_file(tiny):
    first = compiled()
    (tiny / "answer.cpp").write_text(ANSWER.replace("42", "43"))
    assert compiled() != first
    assert answer(compiled()) == 43


@NEEDED
def test_what_decides_their_bits_names_their_edition(tiny):
    first = library.identity()
    assert first.startswith(f"{describe()}, edition ")
    (tiny / "answer.cpp").write_text(ANSWER.replace("42", "43"))
    library.forget()
    assert library.identity() != first
    with turned_off():
        assert library.identity() == describe() == "torch's operators (PLUSX_KERNELS is off)"


@NEEDED
@pytest.mark.parametrize("spoil", ["cut", "turn", "empty"])
def test_a_broken_file_is_compiled_again(tiny, spoil):
    file = compiled()
    good = file.read_bytes()
    turned = good[:200] + bytes([good[200] ^ 1]) + good[201:]
    file.write_bytes({"cut": good[: len(good) // 2], "turn": turned, "empty": b""}[spoil])
    assert not is_whole(file)
    assert is_whole(compiled())
    assert answer(file) == 42


@NEEDED
def test_those_who_compile_at_once_do_not_meet(tiny):
    with ThreadPoolExecutor(4) as pool:
        files = set(pool.map(lambda _: compiled(), range(4)))
    assert len(files) == 1
    assert is_whole(files.pop())


def test_without_a_compiler_torch_computes(tiny, monkeypatch):
    monkeypatch.setattr(compilation, "capabilities", lambda: dict.fromkeys(compilation.REQUIRED, True))
    monkeypatch.setenv("PATH", str(tiny))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(Unavailable, match=r"no C\+\+ compiler"):
        compiled()


def test_without_the_instructions_torch_computes(tiny, monkeypatch):
    monkeypatch.setattr(compilation, "capabilities", dict)
    with pytest.raises(Unavailable, match=r"the processor has no avx512_f, .*avx512_bf16"):
        compiled()


@NEEDED
def test_what_stands_in_the_way_is_said(tiny, monkeypatch):
    (tiny / "answer.cpp").write_text("no program\n")
    with pytest.raises(Unavailable, match=r"failed: .*answer.cpp"):
        compiled()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny / "answer.cpp"))
    with pytest.raises(Unavailable, match="cannot be written: Not a directory"):
        compiled()
    monkeypatch.setattr(compilation, "RUNTIMES", ("nothing",))
    with pytest.raises(Unavailable, match="expected one OpenMP runtime in this process, found 0"):
        compiled()


@NEEDED
def test_a_compiler_that_does_not_run_is_said(tiny, monkeypatch):
    program = tiny.parent / "compiler"
    program.write_text("not a program")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    with pytest.raises(Unavailable, match="does not run"):
        compiled()


def test_the_switch_turns_them_off():
    with turned_off():
        assert library.library() is None
        assert describe() == "torch's operators (PLUSX_KERNELS is off)"


def test_a_library_that_cannot_be_loaded_is_said(tmp_path, monkeypatch):
    (tmp_path / "made.so").write_text("no library")
    monkeypatch.delenv(library.SWITCH, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(library, "compiled", lambda: tmp_path / "made.so")
        library.forget()
        assert library.library() is None
        assert describe().startswith("torch's operators (the compiled kernels cannot be loaded: ")
        patch.setattr(library, "compiled", missing)
        library.forget()
        assert describe() == "torch's operators (no luck)"
    library.forget()


def missing():
    raise Unavailable("no luck")


@NEEDED
def test_the_kernels_are_in_use(monkeypatch):
    library.forget()
    for tiles, said in ((False, "fused norms and convolutions"), (True, "fused norms")):
        monkeypatch.setattr(library, "capabilities", lambda tiles=tiles: {"amx_bf16": tiles})
        library.convolves.cache_clear()
        assert describe() == said
    monkeypatch.undo()
    library.forget()

"""From the C++ sources beside this file to a shared library in the user's cache folder, compiled once a machine.

The file's name is a hash of all that it depends on, its last bytes are a hash of the rest: a file that is not what was
written is compiled again. It is written beside and renamed, so processes that compile at once do not meet.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from plusx import storage

SOURCES = Path(__file__).parent / "sources"
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-w")
LONGEST_SECONDS = 300
DIGEST_BYTES = hashlib.sha256().digest_size
RUNTIMES = ("libgomp", "libiomp", "libomp")
REQUIRED = ("avx512_f", "avx512_bw", "avx512_vl", "avx512_dq", "avx512_bf16")


class Unavailable(Exception):
    """The kernels cannot be had here; the message says why."""


def cache_folder() -> Path:
    """Return where compiled kernels are kept."""
    return storage.cache_folder() / "kernels"


def compiled() -> Path:
    """Return the compiled library, from the cache if it is there and whole.

    Raises:
        Unavailable: The processor, a compiler or torch's OpenMP runtime is missing, or compiling failed.
    """
    missing = [name for name in REQUIRED if not capabilities().get(name)]
    if missing:
        raise Unavailable(f"the processor has no {', '.join(missing)}")
    compiler, runtime = _compiler(), _openmp_runtime()
    parts = [*_made_of(compiler), compiler, runtime, str(sorted(capabilities().items()))]
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    file = cache_folder() / f"{name}.so"
    if not is_whole(file):
        _compile(compiler, runtime, file)
    return file


def edition() -> str:
    """Return a few digits that change with the sources and the compiler, and so perhaps with the bits.

    Raises:
        Unavailable: There is no compiler.
    """
    return hashlib.sha256("\0".join(_made_of(_compiler())).encode()).hexdigest()[:8]


def capabilities() -> dict[str, object]:
    """Return what torch knows of the processor; nothing where it says nothing."""
    return dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}


def is_whole(file: Path) -> bool:
    """Whether a compiled library is there, and is what was written."""
    try:
        content = file.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]


def _made_of(compiler: str) -> list[str]:
    """Return what the kernels' code follows from: the sources, the compiler's version, the flags."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(SOURCES.iterdir())]
    return [*texts, _output([compiler, "--version"]), *FLAGS]


def _compiler() -> str:
    for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise Unavailable("there is no C++ compiler (c++, g++, clang++ or $CXX)")


def _openmp_runtime() -> str:
    """Return the file of the OpenMP runtime that torch has loaded: a second one would bring threads of its own."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise Unavailable("this system does not say which OpenMP runtime torch uses") from error
    files = {line.split(maxsplit=5)[5] for line in lines if line.count(" ") > 4 and "/" in line}
    found = sorted(file for file in files if Path(file).name.startswith(RUNTIMES))
    # scikit-learn and others bring runtimes of their own; torch's is the one that came with it, if one did.
    found = [file for file in found if Path(file).is_relative_to(Path(torch.__file__).parent)] or found
    if len(found) != 1:
        raise Unavailable(f"expected one OpenMP runtime in this process, found {len(found)}")
    return found[0]


def _compile(compiler: str, runtime: str, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            made, sources = Path(folder) / "made.so", sorted(SOURCES.glob("*.cpp"))
            objects = [str(Path(folder) / f"{source.stem}.o") for source in sources]
            with ThreadPoolExecutor() as pool:
                commands = zip(sources, objects, strict=True)
                list(pool.map(lambda c: _output([compiler, *FLAGS, "-c", str(c[0]), "-o", c[1]]), commands))
            _output([compiler, "-shared", "-o", str(made), *objects, runtime, f"-Wl,-rpath,{Path(runtime).parent}"])
            with made.open("r+b") as stream:
                digest = hashlib.sha256(stream.read()).digest()
                stream.write(digest)
            made.replace(file)
    except OSError as error:
        raise Unavailable(f"{file.parent} cannot be written: {error.strerror}") from error


def _output(command: list[str]) -> str:
    try:
        with subprocess.Popen(  # noqa: S603 - the user's own compiler
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            try:
                said, complaint = program.communicate(timeout=LONGEST_SECONDS)
            except BaseException:
                program.kill()
                raise
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]} does not run: {error}") from error
    if program.returncode:
        raise Unavailable(f"{command[0]} failed: {(complaint.strip() or 'no message').splitlines()[0]}")
    return said

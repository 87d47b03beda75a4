"""Any number of threads, any threading layer and any processor give the same bits, and are safe."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numba
import numpy as np
import pytest

import numclip as nc
from numclip import _compile, _threads

# Prints a digest of all results; argument: the number of threads.
DIGEST = """
import hashlib, sys
import numpy as np, numclip as nc
from numclip import _pace, _threads
_pace.LARGE_SIZE = 0  # several threads from the first call on
nc.set_num_threads(int(sys.argv[1]))
digest = hashlib.sha256()
generator = np.random.default_rng(0)
for dtype in (np.float16, np.float32, np.float64, np.complex64):
    arrays = [generator.standard_normal(n).astype(dtype) for n in (300_001, 5, 0, 4097, 70_000)]
    clipped, norm = nc.clip_by_global_norm(arrays, 3.0)
    for result in (
        *clipped,
        norm,
        nc.global_norm(arrays),
        nc.clip_by_norm(arrays[0], 2.0),
        nc.clip_by_norm(arrays[4].reshape(100, 700), 2.0, axes=0),
        nc.clip_by_norm(arrays[4].reshape(700, 100), 2.0, axes=1),
        nc.clip_by_norm(arrays[4].reshape(10, 70, 100), 2.0, axes=[0, 2]),
        nc.clip_by_average_norm(arrays[0], 1e-4),
        nc.IndexedSlices(arrays[4].reshape(700, 100), np.arange(700) % 13, (20, 100)).to_dense(),
    ):
        digest.update(np.ascontiguousarray(result).tobytes())
    if dtype is not np.complex64:
        rows = nc.IndexedSlices(arrays[4].reshape(700, 100), np.arange(700) % 613, (1000, 100))
        for make in (nc.train.AdamOptimizer, lambda **k: nc.train.AdagradOptimizer(0.1, **k)):
            optimizer = make(global_clipnorm=3.0)
            variables = [nc.Variable(np.ones(s, dtype)) for s in (300_001, (1000, 100))]
            for _ in range(3):
                optimizer.apply_gradients(zip((arrays[0], rows), variables, strict=True))
            for variable in variables:
                digest.update(variable.value.tobytes())
print(digest.hexdigest())
"""


def environment_of(layer: str) -> dict[str, str]:
    """Return what chooses a threading layer; TBB is where the dynamic linker does not look."""
    path = {"LD_LIBRARY_PATH": f"{sys.prefix}/lib"} if layer == "tbb" else {}
    return {"NUMBA_THREADING_LAYER": layer, **path}


def run(program: str, *arguments: str, **environment: str) -> str:
    """Run a program in a process of its own and return what it prints."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "4", **environment},
        check=False,
        timeout=300,
    )
    assert process.returncode == 0, f"exit {process.returncode}: {process.stderr[-2000:]}"
    return process.stdout.strip()


def loads(layer: str) -> bool:
    program = "from numba.np.ufunc.parallel import _launch_threads; _launch_threads()"
    process = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env={**os.environ, **environment_of(layer)},
        check=False,
    )
    return process.returncode == 0


LAYERS = [
    pytest.param(layer, marks=[] if loads(layer) else pytest.mark.skip(f"{layer} does not load"))
    for layer in ("omp", "tbb", "workqueue")
]


@pytest.fixture(scope="module")
def serial_digest() -> str:
    return run(DIGEST, "1")


@pytest.mark.parametrize("threads", ["2", "3", "4"])
def test_same_bits_on_any_number_of_threads(serial_digest: str, threads: str) -> None:
    assert run(DIGEST, threads) == serial_digest


@pytest.mark.parametrize("layer", LAYERS)
def test_same_bits_under_any_threading_layer(serial_digest: str, layer: str) -> None:
    assert run(DIGEST, "3", **environment_of(layer)) == serial_digest


def test_same_bits_on_another_processor(serial_digest: str) -> None:
    generic = run(DIGEST, "2", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    assert generic == serial_digest


def test_environment_variable() -> None:
    program = "import numclip as nc; print(nc.get_num_threads())"
    assert run(program) == "4"
    assert run(program, NUMCLIP_NUM_THREADS="3") == "3"
    assert run(program, NUMCLIP_NUM_THREADS="99") == "4"


def test_bad_environment_variable() -> None:
    program = """
import numclip as nc
try:
    nc.get_num_threads()
except ValueError as error:
    print(error)
"""
    message = "`NUMCLIP_NUM_THREADS` must be a whole number of 1 or more, got 'two'"
    assert run(program, NUMCLIP_NUM_THREADS="two") == message


@pytest.fixture
def thread_setting() -> Iterator[None]:
    before = _threads._wanted
    yield
    _threads._wanted = before


@pytest.mark.usefixtures("thread_setting")
def test_set_and_get() -> None:
    nc.set_num_threads(1)
    assert nc.get_num_threads() == 1
    nc.set_num_threads(10_000)
    assert nc.get_num_threads() == numba.config.NUMBA_NUM_THREADS


@pytest.mark.usefixtures("thread_setting")
@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_bad_number_of_threads(n: float, error: type[Exception]) -> None:
    before = nc.get_num_threads()
    with pytest.raises(error, match="`n` must be"):
        nc.set_num_threads(n)  # type: ignore[arg-type]
    assert nc.get_num_threads() == before


@pytest.mark.usefixtures("thread_setting")
def test_numbas_own_setting_stays() -> None:
    mine = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        nc.set_num_threads(2)
        nc.clip_by_norm(np.ones(300_000), 1.0)
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(mine)


@pytest.mark.usefixtures("thread_setting")
def test_one_thread_runs_the_serial_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compile, "threads_are_safe", lambda: True)
    nc.set_num_threads(1)
    assert _threads.parts_for(1 << 30) == 1
    nc.set_num_threads(2)
    assert _threads.parts_for(1 << 30) == nc.get_num_threads()
    assert _threads.parts_for(1000) == 1


CONCURRENT = """
import sys, threading, time
import numpy as np, numclip as nc
from numclip import _pace, _threads
_pace.LARGE_SIZE = 0  # several threads from the first call on
nc.set_num_threads(2)
large = [np.full(200_000, 1e-3, np.float32), np.ones(5)]
small = [np.full((8, 8), 0.5, np.float32) for _ in range(50)]
table = np.full((700, 100), 0.25)
slices = nc.IndexedSlices(table, np.arange(700) % 13, (20, 100))
CALLS = [
    lambda: nc.clip_by_global_norm(large, 0.1)[0][0],
    lambda: nc.clip_by_global_norm(small, 0.1)[0][7],
    lambda: nc.clip_by_norm(table, 0.1, axes=0),
    lambda: nc.clip_by_value(large[0], -1e-4, 1e-4),
    lambda: slices.to_dense(),
    lambda: np.asarray(nc.global_norm(large)),
]
expected = [call().tobytes() for call in CALLS]
deadline = time.monotonic() + float(sys.argv[1])
wrong = []
def work(first):
    turn = first
    while time.monotonic() < deadline:
        which = turn % len(CALLS)
        if CALLS[which]().tobytes() != expected[which]:
            wrong.append(which)
        turn += 1
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(wrong)
"""


@pytest.mark.parametrize("layer", ["default", *LAYERS])
def test_many_python_threads_at_once(layer: str) -> None:
    assert run(CONCURRENT, "10", **environment_of(layer)) == "[]"


FORK = """
import os, threading
import numpy as np, numclip as nc
from numclip import _pace, _threads
_pace.LARGE_SIZE = 0  # several threads from the first call on
nc.set_num_threads(2)
x = np.ones(1_000_000, np.float32)
before = nc.clip_by_norm(x, 1.0)
busy = threading.Event()
def work():
    while not busy.is_set():
        nc.global_norm([x])
thread = threading.Thread(target=work)
thread.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        same = np.array_equal(nc.clip_by_norm(x, 1.0), before)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
busy.set()
thread.join()
print(np.array_equal(nc.clip_by_norm(x, 1.0), before))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_while_a_thread_computes() -> None:
    # Python itself warns of forking with threads from 3.12 on; here it is the point.
    program = f"import warnings; warnings.simplefilter('ignore', DeprecationWarning){FORK}"
    assert run(program) == "True"


FORK_WHILE_COMPILING = """
import os, threading
import numba
import numpy as np, numclip as nc
begun = threading.Event()
def compile():
    for n in range(40):
        exec(f"@numba.njit\\ndef f(x): return x + {n}", {"numba": numba}, names := {})
        begun.set()
        names["f"](1.0)
thread = threading.Thread(target=compile)
thread.start()
begun.wait()
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if nc.global_norm([np.ones(4)]) == 2.0 else 1)
    assert os.waitpid(child, 0)[1] == 0
assert thread.is_alive(), "no fork was sure to come while it compiled"
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_while_a_thread_compiles() -> None:
    ignore = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)"
    assert run(f"{ignore}{FORK_WHILE_COMPILING}") == ""


FORK_BEFORE_THREADS = """
import os
import numpy as np, numclip as nc
from numclip import _pace, _threads
_pace.LARGE_SIZE = 0  # several threads from the first call on
nc.set_num_threads(2)
child = os.fork()
if child == 0:
    clipped = nc.clip_by_norm(np.ones(1_000_000, np.float32), 1.0)
    os._exit(0 if _threads.parts_for(1_000_000) == 2 and clipped[0] < 1e-3 else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_child_of_a_parent_without_threads_has_its_own() -> None:
    assert run(FORK_BEFORE_THREADS) == "0"


POOL = """
import multiprocessing, sys
import numpy as np, numclip as nc
from numclip import _pace, _threads
_pace.LARGE_SIZE = 0  # several threads from the first call on

def clip(seed):
    x = np.random.default_rng(seed).standard_normal(300_000, dtype=np.float32)
    return nc.clip_by_norm(x, 1.0).tobytes()

if __name__ == "__main__":
    nc.set_num_threads(2)
    expected = [clip(seed) for seed in range(4)]
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        print(pool.map(clip, range(4)) == expected)
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_pool_of_processes(method: str, tmp_path: os.PathLike[str]) -> None:
    # The child of a spawned pool imports the program, so it has to be a file.
    file = os.path.join(tmp_path, "program.py")
    with open(file, "w") as stream:
        stream.write(POOL)
    runner = f"import runpy, sys; sys.argv = [{file!r}, {method!r}]"
    program = f"{runner}; runpy.run_path({file!r}, run_name='__main__')"
    if method != "fork":
        process = subprocess.run(
            [sys.executable, file, method], capture_output=True, text=True, check=False
        )
        assert process.stdout.strip() == "True", process.stderr[-2000:]
        return
    assert run(program) == "True"


def test_digest_of_threads_in_this_process() -> None:
    x = np.linspace(0, 1, 500_000, dtype=np.float32)
    results = []

    def work() -> None:
        results.append(hashlib.sha256(nc.clip_by_norm(x, 1.0).tobytes()).hexdigest())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1

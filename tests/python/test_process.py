"""How the module behaves as a citizen of its process: imports, threads, signals, forks, memory."""
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import moelle
import numpy as np
import pytest


def test_import_takes_less_than_200_ms_and_pulls_in_nothing_that_it_does_not_need(python):
    times = [float(python("import time; t = time.perf_counter(); import moelle; print(time.perf_counter() - t)").stdout) for _ in range(5)]
    assert min(times) < 0.2, times
    r = python("import sys, moelle; print(sorted(m for m in ('typer', 'rich', 'matplotlib', 'torch', 'ml_dtypes', 'yaml') if m in sys.modules))")
    assert r.stdout.strip() == "[]", r.stderr


@pytest.mark.parametrize("work", [lambda x: x @ x, lambda x: (x * x).sum().backward(), lambda x: x.exp(), lambda x: moelle.functional.softmax(x)])
def test_other_python_threads_run_while_an_operation_works(work):
    x = moelle.randn(1500, 1500, seed=0, requires_grad=True)
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0002)

    thread = threading.Thread(target=tick)
    thread.start()
    inside = 0
    try:
        for _ in range(200):
            begin = time.perf_counter()
            work(x)
            end = time.perf_counter()
            inside += sum(begin < t < end for t in ticks)
            ticks.clear()
            if inside > 3:
                break
    finally:
        done.set()
        thread.join()
    assert inside > 3


def test_several_python_threads_may_compute_at_once_and_get_the_right_answer():
    x = moelle.randn(200, 200, seed=1)
    want = (x @ x).numpy()
    wrong = []

    def run():
        for _ in range(20):
            if not np.array_equal((x @ x).numpy(), want):
                wrong.append(1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_a_forked_child_computes_with_a_pool_of_its_own():
    x = moelle.randn(300, 300, seed=2)
    want = (x @ x).sum().item()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str((x @ x).sum().item() == want).encode())
        os._exit(0)
    os.close(write)
    deadline = time.monotonic() + 20
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hung")
        time.sleep(0.01)
    assert os.read(read, 10) == b"True"
    os.close(read)


LONG = """
import signal, sys, moelle
from moelle import models
m = models.CausalLM(models.Config.preset("pilot").replace(max_position_embeddings=1000000))
print("ready", flush=True)
try:
    m.generate([[1]], max_new_tokens=500000, temperature=0)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    print(m([[1, 2]]).shape, m.training, flush=True)
"""


def test_ctrl_c_ends_a_long_computation_and_leaves_the_model_usable():
    p = subprocess.Popen([sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert p.stdout.readline() == "ready\n"
        time.sleep(0.5)
        begin = time.monotonic()
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=20)
    finally:
        p.kill()
    assert out.splitlines() == ["interrupted", "(1, 2, 256) True"], (out, err)
    assert time.monotonic() - begin < 10


def test_an_exception_of_a_signal_handler_arrives_as_it_is(python):
    r = python(LONG.replace('print("ready", flush=True)', """
class Alarm(Exception): pass
def handler(*_): raise Alarm("time is up")
signal.signal(signal.SIGALRM, handler); signal.setitimer(signal.ITIMER_REAL, 0.3)""").replace("except KeyboardInterrupt", "except Alarm"))
    assert r.stdout.startswith("interrupted"), (r.stdout, r.stderr)


def resident() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_repeated_work_does_not_grow_the_process():
    w = moelle.randn(64, 64, seed=3, requires_grad=True)
    a = np.ones((64, 64), np.float32)

    def work():
        x = moelle.from_numpy(a)
        y = (moelle.functional.silu(x @ w) * 2).sum()
        y.backward()
        w.zero_grad()
        np.from_dlpack(x)
        x[[0, 1]], x[x > 2], x.numpy(), repr(x[:2, :2])
        try:
            x + moelle.ones(63)
        except moelle.Error:
            pass

    for _ in range(100):
        work()
    gc.collect()
    before, live = resident(), moelle.memory_stats()["live_bytes"]
    for _ in range(1500):
        work()
    gc.collect()
    assert moelle.memory_stats()["live_bytes"] == live
    assert resident() - before < 4 << 20


def test_memory_that_cannot_be_had_is_a_memory_error():
    with pytest.raises(MemoryError):
        moelle.empty(1 << 46, dtype="uint8")
    with pytest.raises(moelle.Error, match="64 bits"):
        moelle.empty(1 << 40, 1 << 40)


def test_results_do_not_depend_on_the_number_of_threads():
    before = moelle.get_num_threads()
    x = moelle.randn(257, 129, seed=4)
    try:
        results = []
        for n in (1, 2, 3, 7):
            moelle.set_num_threads(n)
            assert moelle.get_num_threads() == n
            results.append((x @ x.T).sum(0).numpy().tobytes())
        assert len(set(results)) == 1
    finally:
        moelle.set_num_threads(before)
    with pytest.raises(moelle.Error, match="threads=0"):
        moelle.set_num_threads(0)


def test_the_instruction_set_can_be_chosen_and_a_wrong_name_is_refused(python):
    names = moelle.available_isas()
    assert moelle.isa_name() in names
    for name in names:
        r = python("import moelle; print(moelle.isa_name(), (moelle.ones(3, 3) @ moelle.ones(3, 3)).sum().item())", MOELLE_ISA=name)
        assert r.stdout.split() == [name, "27.0"], r.stderr
    r = python("import moelle; moelle.isa_name()", MOELLE_ISA="sse9")
    assert r.returncode != 0 and "must be one of" in r.stderr and "MOELLE_ISA=sse9" in r.stderr
    before = moelle.isa_name()
    try:
        for name in names:
            moelle.set_isa(name)
            assert moelle.isa_name() == name
    finally:
        moelle.set_isa(before)


def test_errors_are_value_errors_and_wrong_dtypes_type_errors():
    assert issubclass(moelle.Error, ValueError)
    with pytest.raises(ValueError, match=r"matmul: operands must be .*; got a=\[2, 3\] b=\[2, 3\]"):
        moelle.ones(2, 3) @ moelle.ones(2, 3)
    with pytest.raises(TypeError, match="matmul: dtype must be one of float32, float64; got dtype=int64"):
        moelle.arange(4).reshape(2, 2) @ moelle.arange(4).reshape(2, 2)


def test_the_process_ends_cleanly_with_tensors_arrays_and_graphs_alive(python):
    r = python("""
import moelle, numpy as np
a = np.ones(4, np.float32)
x = moelle.from_numpy(a).requires_grad_()
y = (x * 2).exp()
b = np.from_dlpack(moelle.ones(3))
m = moelle.nn.Linear(2, 2)
class G(moelle.nn.Module):
    def __init__(self):
        super().__init__(); self.inner = m; self.w = moelle.nn.Parameter(moelle.ones(1))
g = G(); moelle.keep = (x, y, g)
print("end")
""")
    assert r.returncode == 0 and r.stdout == "end\n" and r.stderr == "", r

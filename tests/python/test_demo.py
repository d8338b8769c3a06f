"""The main job from the command line: it ends with its table and picture, can be stopped, and goes on."""
import random
import signal
import subprocess
import sys
import time

import pytest


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Eighty files of made-up lines, 10 KB each: more than the 256 KB that validation asks for."""
    folder = tmp_path_factory.mktemp("text")
    words = random.Random(0)
    for i in range(80):
        lines = [f"def f{words.randrange(1000)}(x):\n    return x + {words.randrange(1000)}\n" for _ in range(300)]
        (folder / f"{i}.py").write_text("".join(lines))
    return folder


def arguments(text, folder, steps, *more):
    return [sys.executable, "-m", "moelle", "demo", "--data", str(text), "--folder", str(folder / "runs"), "--picture", str(folder / "demo.png"), "--steps", str(steps), *more]


def table(output):
    return [line for line in output.splitlines() if "│" in line]


def test_the_demo_ends_with_table_text_and_picture_and_shows_them_again(text, tmp_path):
    first = subprocess.run(arguments(text, tmp_path, 3, "--optimizer", "adamw"), capture_output=True, text=True, timeout=300)
    assert first.returncode == 0, first.stderr
    for what in ("total parameters", "active parameters", "training FLOPs per token", "validation bits per byte", "seconds to the dense", "MaxVio", "dead experts"):
        assert what in first.stdout
    assert "its dense" in first.stdout and "$5.576 M" in first.stdout and first.stdout.count("continues") == 2
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    again = subprocess.run(arguments(text, tmp_path, 3, "--optimizer", "adamw"), capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and "Going on from" in again.stdout and table(again.stdout) == table(first.stdout)


def test_ctrl_c_saves_and_the_same_command_goes_on(text, tmp_path):
    def run_and_stop():
        process = subprocess.Popen(arguments(text, tmp_path, 10000), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        return output

    assert "The same command goes on from here" in run_and_stop()
    newest = max((tmp_path / "runs").rglob("step-*")).name
    assert int(newest.removeprefix("step-")) > 0
    assert "Going on from" in run_and_stop()
    assert max((tmp_path / "runs").rglob("step-*")).name > newest


def test_options_that_cannot_be_meant_are_one_line(tmp_path):
    for more, message in [(["--optimizer", "mun"], 'did you mean "muon"'), (["--steps", "0"], "steps=0"), (["--precision", "half"], "precision='half'"), (["--data", "/no/such"], "path=/no/such")]:
        run = subprocess.run([sys.executable, "-m", "moelle", "demo", "--folder", str(tmp_path), *more], capture_output=True, text=True, timeout=60)
        assert run.returncode == 2 and message in run.stderr and len(run.stderr.splitlines()) == 1, run.stderr

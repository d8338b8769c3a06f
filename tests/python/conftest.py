import subprocess
import sys

import pytest


def run_python(code: str, timeout: float = 60, **environment) -> subprocess.CompletedProcess:
    """Runs code in an interpreter of its own."""
    import os

    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment})


@pytest.fixture
def python():
    return run_python

#!/usr/bin/env bash
# scripts/setup.sh PROFILE -- makes this machine ready: compilers and headers from the system, Python packages in .venv.
#
#   run    build the Python module, train and plot            test   run, and everything the tests compare with
#   bench  test, and the yardsticks of bench/run.sh
#
# As root, missing system packages are installed with apt-get; otherwise a sentence says which are missing. A second run finds
# everything in place, needs no network and takes a second. Source it: it leaves PYTHON set to the environment's interpreter.
#   MOELLE_VENV         where the environment lies (default: .venv in the repository)
#   MOELLE_TORCH_SPEC   what `pip install` is asked for (default: torch==2.13.0)
set -euo pipefail

profile="${1:-run}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${MOELLE_VENV:-$root/.venv}"
PYTHON="$venv/bin/python"

say() { printf '\033[1mmoelle:\033[0m %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# --- system packages ---------------------------------------------------------------------------------------------------------
# name of a Debian package: a command or header that shows that it is there

header_there() {  # any include folder of the compiler will do
  local header="${1#/usr/include/}"
  printf '#include <%s>\n' "$header" | g++ -std=c++20 -fsyntax-only -x c++ - >/dev/null 2>&1
}
sanitizers_there() {  # for clang, a package of its own
  local program status=0
  program="$(mktemp)"
  echo 'int main() {}' | clang++ -fsanitize=address,undefined -x c++ - -o "$program" >/dev/null 2>&1 || status=1
  rm -f "$program"
  return $status
}
missing_packages() {
  local wanted=("g++|g++" "libxsimd-dev|/usr/include/xsimd/xsimd.hpp" "nlohmann-json3-dev|/usr/include/nlohmann/json.hpp")
  if [[ $profile != run ]]; then
    wanted+=("doctest-dev|/usr/include/doctest/doctest.h" "libeigen3-dev|/usr/include/eigen3/Eigen/Core" "clang|clang++" "ccache|ccache")
  fi
  if [[ $profile == bench ]]; then
    wanted+=("libbenchmark-dev|/usr/include/benchmark/benchmark.h" "libdnnl-dev|/usr/include/dnnl.h")
  fi
  local entry package sign
  for entry in "${wanted[@]}"; do
    package="${entry%%|*}" sign="${entry#*|}"
    case "$sign" in
      /*) [[ -e $sign ]] || { command -v g++ >/dev/null && header_there "$sign"; } || echo "$package" ;;
      *) command -v "$sign" >/dev/null || echo "$package" ;;
    esac
  done
  if [[ $profile != run ]] && command -v clang++ >/dev/null && ! sanitizers_there; then
    echo "libclang-rt-$(clang++ -dumpversion | cut -d. -f1)-dev"
  fi
  "${base_python[@]}" -c 'import sysconfig, os; raise SystemExit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' \
    >/dev/null 2>&1 || echo python3-dev
  [[ -x $PYTHON ]] || "${base_python[@]}" -c 'import venv, ensurepip' >/dev/null 2>&1 || echo python3-venv
}

find_python() {
  local candidate
  for candidate in "${MOELLE_PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10; do
    [[ -n $candidate ]] && command -v "$candidate" >/dev/null || continue
    if "$candidate" -c 'import sys; raise SystemExit(sys.version_info < (3, 10))' 2>/dev/null; then
      base_python=("$candidate")
      return
    fi
  done
  die "Python 3.10 or newer must be installed; got none on the PATH. On Debian and Ubuntu: apt-get install python3"
}

system_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  [[ ${#missing[@]} -eq 0 ]] && return
  if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
    die "these packages must be installed first: ${missing[*]}. On Debian and Ubuntu: sudo apt-get install ${missing[*]}"
  fi
  say "installing system packages: ${missing[*]}"
  apt_install "${missing[@]}" || die "apt-get could not install ${missing[*]}; is there a network?"
}
apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq "$@" >/dev/null 2>&1 || {
    apt-get update -qq >/dev/null 2>&1 || true
    apt-get install -y -qq "$@" >/dev/null
  }
}

# 290 MB for tests on other processors than this one. They skip where this is missing, so that a failure is only said, and tried once.
emulators() {
  local stamp="$venv/.moelle-emulators"
  [[ $profile == run || $(uname -m) != x86_64 || -f $stamp || $(id -u) -ne 0 ]] && return
  command -v apt-get >/dev/null || return 0
  if ! { command -v qemu-aarch64 && command -v aarch64-linux-gnu-g++; } >/dev/null; then
    say "installing system packages: qemu-user g++-aarch64-linux-gnu"
    apt_install qemu-user g++-aarch64-linux-gnu 2>/dev/null || say "they could not be had: nothing is tested on 64-bit ARM and older x86 processors"
  fi
  touch "$stamp"
}

# --- Python packages ---------------------------------------------------------------------------------------------------------
run_packages=("scikit-build-core>=0.10" "pybind11>=3" "cmake>=3.25" ninja "numpy>=1.24" typer rich matplotlib pyyaml)
test_packages=(pytest ruff hypothesis ml_dtypes safetensors "transformers>=5.20,<6" nbclient nbformat ipykernel)

install() {
  "$PYTHON" -m pip install --quiet --disable-pip-version-check "$@"
}
python_packages() {
  if [[ ! -x $PYTHON ]]; then
    say "making a virtual environment in $venv"
    "${base_python[@]}" -m venv "$venv" 2>/dev/null || { "${base_python[@]}" -m pip install --quiet virtualenv && "${base_python[@]}" -m virtualenv -q "$venv"; } ||
      die "a virtual environment could not be made in $venv; on Debian and Ubuntu: apt-get install python3-venv"
  fi
  local torch="${MOELLE_TORCH_SPEC:-torch==2.13.0}" want stamp="$venv/.moelle-$profile"
  want="${run_packages[*]}"
  [[ $profile == run ]] || want+=" ${test_packages[*]} $torch"
  [[ -f $stamp && $(cat "$stamp") == "$want" ]] && return
  say "installing Python packages ($profile)"
  install "${run_packages[@]}" || die "pip could not install ${run_packages[*]}; is there a network?"
  if [[ $profile != run ]]; then
    install "$torch" || say "$torch could not be had: comparisons with PyTorch run on the stored fixtures only"
    install "${test_packages[@]}" || die "pip could not install ${test_packages[*]}; is there a network?"
  fi
  printf '%s' "$want" >"$stamp"
}

# --- the module itself -------------------------------------------------------------------------------------------------------
# Builds and installs the wheel if a source is newer than the installed module.
install_module() {
  local stamp="$venv/.moelle-module" newer=""
  [[ -f $stamp ]] && newer="$(find "$root/include" "$root/python" "$root/cmake" "$root/CMakeLists.txt" "$root/pyproject.toml" -newer "$stamp" -type f \
    ! -name '*.pyc' -print -quit)"
  if [[ ! -f $stamp || -n $newer ]]; then
    say "building the Python module (some minutes the first time)"
    PATH="$venv/bin:$PATH" install --no-build-isolation --no-deps --force-reinstall "$root" || die "the Python module could not be built"
    touch "$stamp"
  fi
}

find_python
system_packages
system_packages  # what clang needs besides is known once clang is there
python_packages
emulators
export PATH="$venv/bin:$PATH"
export CXX="${CXX:-g++}"  # one name everywhere: a compiler cache tells c++ from g++

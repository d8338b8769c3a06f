#!/usr/bin/env bash
# tests/run.sh [--fast] -- sets up what it needs and runs all tests; --fast: the C++ suite and Python tests on one instruction set.
#
# Stages run in order; a failed stage does not stop the later ones. Ends with a table and the line "N passed, N failed".
set -uo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
fast=0
for option in "$@"; do
  case "$option" in
    --fast) fast=1 ;;
    *) echo "tests/run.sh: the only option is --fast; got $option" >&2; exit 2 ;;
  esac
done
set +u
source "$root/scripts/setup.sh" test || exit 1
set +e -u
cd "$root"
jobs="$(nproc)"
build="${MOELLE_BUILD:-$root/build}/tests"
table=() passed=0 failed=0

stage() {  # stage NAME COMMAND...
  local name="$1" begin=$SECONDS status
  shift
  printf '\n\033[1m== %s\033[0m\n' "$name"
  "$@"
  status=$?
  if [[ $status -eq 0 ]]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  table+=("$(printf '%-44s %6d s  %s' "$name" $((SECONDS - begin)) "$([[ $status -eq 0 ]] && echo passed || echo FAILED)")")
}

# The instruction sets of this processor, as the dispatcher sees them.
isas() { "$PYTHON" -c 'import moelle; print(*moelle.available_isas())'; }

build_cpp() {
  cmake -S . -B "$build" -G Ninja -DMOELLE_TESTS=ON -DMOELLE_EXAMPLES=ON -DMOELLE_WERROR=ON >"$build.log" 2>&1 || { cat "$build.log"; return 1; }
  cmake --build "$build" -j "$jobs" 2>&1 | grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking|Generating|Scanning)' | sed -n 1,80p
  return "${PIPESTATUS[0]}"
}
run_cpp() {  # run_cpp [ISA [CTEST OPTION...]]
  MOELLE_ISA="${1:-}" ctest --test-dir "$build" -j "$jobs" --output-on-failure --no-tests=error "${@:2}" 2>&1 | grep -vE '^ *[0-9]+/[0-9]+ Test.*Passed|^ +Start '
  return "${PIPESTATUS[0]}"
}
run_python() { "$PYTHON" -m pytest -q -x --durations=5 tests/python tests/parity "$@"; }
checks() {
  local bad=0
  "$PYTHON" -m ruff check -q . || bad=1
  "$PYTHON" tests/check_layers.py || bad=1
  "$PYTHON" tests/check_headers.py -j "$jobs" || bad=1
  if [[ $(uname -m) == x86_64 ]]; then  # the module's own code; its kernels' is a test of ctest
    "$PYTHON" tests/check_isa_instructions.py baseline build/cp*/python/CMakeFiles/_core.dir/src/*.o || bad=1
  fi
  return $bad
}
consumers() { bash tests/consumers/run.sh; }
arm() { bash tests/cross/run.sh; }
build_clang() {
  cmake -S . -B "$build-clang" -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DMOELLE_TESTS=ON -DMOELLE_EXAMPLES=ON -DMOELLE_WERROR=ON \
    -DMOELLE_SANITIZE=address,undefined >"$build.log" 2>&1 || { cat "$build.log"; return 1; }
  cmake --build "$build-clang" -j "$jobs" 2>&1 | grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking|Generating|Scanning)' | sed -n 1,80p
  return "${PIPESTATUS[0]}"
}
sanitized() {  # a request for more memory than there is must give an error of ours, not end the program
  ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
    ctest --test-dir "$build-clang" -j "$jobs" -E '^(symbols|instructions|emulated)' --output-on-failure --no-tests=error 2>&1 | grep -vE '^ *[0-9]+/[0-9]+ Test.*Passed|^ +Start '
  return "${PIPESTATUS[0]}"
}
cuda() {
  command -v nvcc >/dev/null || { echo "no CUDA toolkit here: cuda/*.cu is not compiled"; return 0; }
  cmake -S . -B "$build-cuda" -G Ninja -DMOELLE_CUDA=ON -DMOELLE_TESTS=OFF -DMOELLE_EXAMPLES=OFF >"$build.log" 2>&1 || { cat "$build.log"; return 1; }
  cmake --build "$build-cuda" --target moelle_cuda 2>&1 | tail -3
  return "${PIPESTATUS[0]}"
}

mkdir -p "$build"
stage "Python module" install_module
stage "C++ build (g++, warnings are errors)" build_cpp
stage "C++ tests" run_cpp
stage "Python and parity tests" run_python
if [[ $fast -eq 0 ]]; then
  stage "style, layers, headers" checks
  stage "consumers" consumers
  for isa in $(isas | tr ' ' '\n' | head -n -1); do  # the last and best is what ran above
    stage "C++ tests, MOELLE_ISA=$isa" run_cpp "$isa" -LE cuda -E '^(symbols|instructions|emulated)'
    stage "parity tests, MOELLE_ISA=$isa" env MOELLE_ISA="$isa" "$PYTHON" -m pytest -q -x tests/parity
  done
  stage "C++ build (clang++, warnings are errors)" build_clang
  stage "C++ tests, address and undefined sanitizers" sanitized
  [[ $(uname -m) == x86_64 ]] && stage "C++ tests, 64-bit ARM emulated" arm
  stage "CUDA sources compile" cuda
fi

printf '\n'
printf '%s\n' "${table[@]}"
printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]

#!/usr/bin/env bash
# tests/cross/run.sh -- tests of every kernel on 64-bit ARM (NEON): cross-compiled, run by an emulator.
#
# Needs a cross compiler and qemu (Debian and Ubuntu: apt-get install g++-aarch64-linux-gnu qemu-user); without them a sentence says so. A test is
# "name" or "name: cases": an emulator is some thirty times slower than a processor, so of long ones only some cases run.
set -uo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
build="${MOELLE_BUILD:-$root/build}/aarch64"
jobs="$(nproc)"
tests=(
  "gemm_gemm_exact: every tail*,every K*" "gemm_packed_exact" "gemm_packed_bits: experts*,errors*,a row*"
  "attention_attention: causal*,a sliding*,one query*,a query*" "attention_decode: few queries agree*,documents*,without keys*,a score*" "attention_latent_decode"
  "moe_gate_kernels" "moe_permute" "moe_experts" "norm_rms_norm" "norm_softmax" "rope_rope" "loss_cross_entropy" "activation_swiglu" "activation_unary"
  "training_optimizer: the AdamW*,three AdamW*" "models_packed_models"
)

for program in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$program" >/dev/null || { echo "no $program here: nothing is tested on 64-bit ARM"; exit 0; }
done

# The headers that moelle includes are the same on every processor, but lie where this machine's C library has its own.
mkdir -p "$build/headers"
for header in xsimd/xsimd.hpp nlohmann/json.hpp doctest/doctest.h; do
  found="$(printf '#include <%s>\n' "$header" | g++ -std=c++20 -M -x c++ - | grep -oE "[^ ]+/$header" | head -1)"
  [[ -n $found ]] || { echo "tests/cross/run.sh: <$header> must be installed" >&2; exit 1; }
  ln -sfn "$(dirname "$(realpath "$found")")" "$build/headers/${header%%/*}"
done

env -u CXX -u CXXFLAGS cmake -S "$root" -B "$build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$root/cmake/aarch64.cmake" -DCMAKE_INCLUDE_PATH="$build/headers" -DMOELLE_TESTS=ON \
  -DMOELLE_EXAMPLES=OFF -DMOELLE_INSTALL=OFF -DMOELLE_WERROR=ON >"$build/cmake.log" 2>&1 || { cat "$build/cmake.log"; exit 1; }
targets=()
for test in "${tests[@]}"; do targets+=("test_${test%%:*}"); done
cmake --build "$build" -j "$jobs" --target "${targets[@]}" 2>&1 | grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking|Generating|Scanning)' | head -80
[[ ${PIPESTATUS[0]} -eq 0 ]] || exit 1

run() {  # run BUILD "name: cases"
  local name="${2%%:*}" cases="" begin=$SECONDS log
  [[ $2 == *:* ]] && cases="${2#*: }"
  log="$1/$name.log"
  if qemu-aarch64 -L /usr/aarch64-linux-gnu "$1/tests/test_$name" ${cases:+"-tc=$cases"} >"$log" 2>&1 && grep -qE 'test cases: +[1-9]' "$log"; then
    printf '%-28s %4d s  %s\n' "$name" $((SECONDS - begin)) "$(sed -nE 's/.*(test cases:.*\|) *[0-9]+ skipped.*/\1/p' "$log")"
  else
    cat "$log"
    printf '%-28s FAILED on 64-bit ARM\n' "$name"
    return 1
  fi
}
export -f run
printf '%s\0' "${tests[@]}" | xargs -0 -P "$jobs" -I{} bash -c 'run "$0" "$1"' "$build" {}

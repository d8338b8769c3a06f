#!/usr/bin/env bash
# Programs that use moelle the ways people do: bare -I, two translation units, add_subdirectory, find_package.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
warnings=(-std=c++20 -O1 -Wall -Wextra -Wshadow -Wconversion -Werror)

echo "bare -I:" && g++ "${warnings[@]}" -I"$root/include" "$here/main.cpp" -o "$work/bare" -pthread && "$work/bare"
echo "bare -I, -march=native:" && g++ "${warnings[@]}" -march=native -I"$root/include" "$here/main.cpp" -o "$work/native" -pthread && "$work/native"
if command -v clang++ >/dev/null; then
  echo "bare -I, clang++ -march=native:" && clang++ "${warnings[@]}" -march=native -I"$root/include" "$here/main.cpp" -o "$work/clang" -pthread && "$work/clang"
fi
echo "two units:" && g++ "${warnings[@]}" -DMOELLE_TEST_TWO_UNITS -I"$root/include" "$here/main.cpp" "$here/two_units/other.cpp" -o "$work/two" -pthread && "$work/two"
echo "add_subdirectory:" && cmake -S "$here/subdirectory" -B "$work/sub" -G Ninja >/dev/null && cmake --build "$work/sub" --target consumer >/dev/null && "$work/sub/consumer"
echo "install and find_package:"
cmake -S "$root" -B "$work/build" -G Ninja -DMOELLE_TESTS=OFF -DMOELLE_EXAMPLES=OFF -DCMAKE_INSTALL_PREFIX="$work/prefix" >/dev/null
cmake --build "$work/build" >/dev/null && cmake --install "$work/build" >/dev/null
cmake -S "$here/find_package" -B "$work/found" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null && cmake --build "$work/found" >/dev/null && "$work/found/consumer"

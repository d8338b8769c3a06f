// Compiled as a user of the headers would: -O3 -march=native and nothing else (bench/CMakeLists.txt).
#include "operations.hpp"

namespace headers_bench {
std::vector<Operation> direct(int threads) { return moelle::headers_bench::operations(threads); }
}  // namespace headers_bench

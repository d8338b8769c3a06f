// Compiled as the wheel is: for any x86-64 processor, with kernels that are picked at run time.
#include "operations.hpp"

namespace headers_bench {
std::vector<Operation> dispatched(int threads) { return moelle::headers_bench::operations(threads); }
}  // namespace headers_bench

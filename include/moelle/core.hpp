// moelle/core.hpp -- everything of this domain that users call.
#pragma once
#include <moelle/core/dtype.hpp>     // bfloat16, DType, Device
#include <moelle/core/error.hpp>     // Error, str, MOELLE_REQUIRE
#include <moelle/core/memory.hpp>    // memory_stats, reset_peak_memory, trim_memory
#include <moelle/core/parallel.hpp>  // parallel_for, parallel_rows, set_num_threads
#include <moelle/core/random.hpp>    // random::Stream
#include <moelle/core/shape.hpp>     // Shape, checked_mul, broadcast_shapes
#include <moelle/core/storage.hpp>   // Storage
#include <moelle/core/tensor.hpp>    // Tensor<T>
#include <moelle/core/view.hpp>      // View<T, Rank>

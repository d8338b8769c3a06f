// moelle/norm/softmax.hpp -- softmax and its logarithm along one axis: the contract.
//
// With m = max_j x_j and S = sum_j e^(x_j - m) along the axis:
//   softmax      y_j = e^(x_j - m) / S         dx_j = y_j (dy_j - sum_i dy_i y_i)
//   log_softmax  y_j = (x_j - m) - log S       dx_j = dy_j - e^(y_j) sum_i dy_i
//
// Any axis, any strides; empty tensors are legal. A row that is -infinity throughout has softmax 0 and log_softmax -infinity
// everywhere (a query that may look at nothing attends to nothing; PyTorch gives NaN). NaN or +infinity in a row gives NaN
// throughout that row. Error in float: softmax
// (8 + m - x_j) eps |y| + 1e-37 (the subtraction is rounded); log_softmax 4 eps (1 + |y|).
#pragma once
#include <cstdint>

#include <moelle/core/config.hpp>

namespace moelle::norm {

enum class Softmax : std::uint8_t { plain, log };

inline const char* name(Softmax form) { return form == Softmax::plain ? "softmax" : "log_softmax"; }

}  // namespace moelle::norm

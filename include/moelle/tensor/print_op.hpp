// moelle/tensor/print_op.hpp -- tensors as text, in the manner of NumPy and PyTorch:
//   tensor([[1.0000, 2.5000],
//           [3.0000, 4.0000]], shape=[2, 2], dtype=float32)
// Tensors of more than `threshold` elements show the first and last `edge_items` of each axis. Numbers of one tensor share
// one format: whole numbers as "3.", others with `precision` digits after the point, in scientific notation if they span
// more than 10^5 or leave [10^-4, 10^8).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <ostream>
#include <string>
#include <type_traits>
#include <vector>

#include <moelle/autograd/meta.hpp>
#include <moelle/core/tensor.hpp>

namespace moelle {

struct PrintOptions {
  int precision = 4;
  std::int64_t edge_items = 3;
  std::int64_t threshold = 1000;
  std::size_t line_width = 80;
};

namespace detail {

// Indices shown along an axis; -1 stands for "...".
inline std::vector<std::int64_t> shown(std::int64_t size, bool summarise, std::int64_t edge) {
  std::vector<std::int64_t> r;
  const bool cut = summarise && size > 2 * edge;
  for (std::int64_t i = 0; i < size; ++i) {
    if (cut && i == edge) {
      r.push_back(-1);
      i = size - edge - 1;
    } else {
      r.push_back(i);
    }
  }
  return r;
}

// f(offset) for every element shown, in row-major order.
template <class F>
void each_shown(const Shape& shape, const Strides& strides, bool summarise, std::int64_t edge, F& f, std::int64_t at = 0, int axis = 0) {
  if (axis == shape.rank()) return f(at), void();
  for (const std::int64_t i : shown(shape[axis], summarise, edge))
    if (i >= 0) each_shown(shape, strides, summarise, edge, f, at + i * strides[axis], axis + 1);
}

inline std::string formatted(const char* format, int precision, double v) {
  char buffer[400];  // %f of the largest double has 309 digits before the point
  std::snprintf(buffer, sizeof buffer, format, std::min(precision, 60), v);
  return buffer;
}

inline std::vector<std::string> format_reals(const std::vector<double>& values, int precision) {
  double low = std::numeric_limits<double>::infinity(), high = 0.0;
  bool whole = true;
  for (const double v : values) {
    if (!std::isfinite(v)) continue;
    whole = whole && v == std::trunc(v);
    if (v != 0.0) low = std::min(low, std::abs(v)), high = std::max(high, std::abs(v));
  }
  const bool scientific = high > 0.0 && (high >= 1e8 || (!whole && (low < 1e-4 || high / low > 1e5)));
  std::vector<std::string> r;
  for (const double v : values) {
    if (std::isnan(v)) r.push_back("nan");
    else if (std::isinf(v)) r.push_back(v > 0 ? "inf" : "-inf");
    else if (scientific) r.push_back(formatted("%.*e", precision, v));
    else if (whole) r.push_back(formatted("%.*f", 0, v) + ".");
    else r.push_back(formatted("%.*f", precision, v));
  }
  return r;
}

// Brackets, commas and line breaks around the texts of the elements shown.
struct Layout {
  const Shape& shape;
  const PrintOptions& options;
  bool summarise;
  std::vector<std::string> items;
  std::size_t next = 0;
  std::string out = {};

  void axis(int d, std::size_t indent) {
    if (d == shape.rank()) {
      out += items[next++];
      return;
    }
    const bool innermost = d + 1 == shape.rank();
    out += '[';
    std::size_t column = indent + 1;
    bool first = true;
    for (const std::int64_t i : shown(shape[d], summarise, options.edge_items)) {
      if (!first) {
        const std::size_t width = i < 0 ? 3 : innermost ? items[next].size() : 0;
        const bool wrap = !innermost || column + width + 2 > options.line_width;
        out += wrap ? "," + std::string(static_cast<std::size_t>(std::max(1, shape.rank() - d - 1)), '\n') + std::string(indent + 1, ' ') : ", ";
        column = wrap ? indent + 1 : column + 2;
      }
      first = false;
      const std::size_t before = out.size();
      if (i < 0) out += "...";
      else axis(d + 1, indent + 1);
      column += out.size() - before;
    }
    out += ']';
  }
};

}  // namespace detail

template <class T>
std::string to_string(const Tensor<T>& x, const PrintOptions& options = {}) {
  if (!x.defined()) return "tensor(undefined)";
  MOELLE_REQUIRE("to_string", options.edge_items > 0 && options.precision >= 0,
                 str("edge_items must be positive, precision not negative; got edge_items=", options.edge_items, " precision=", options.precision));
  const bool summarise = x.numel() > options.threshold;
  std::vector<std::string> items;
  std::vector<double> reals;
  auto visit = [&](std::int64_t at) {
    const T v = x.data()[at];
    if constexpr (std::is_same_v<T, bool>) items.push_back(v ? "true" : "false");
    else if constexpr (std::is_integral_v<T>) items.push_back(std::to_string(v));
    else reals.push_back(static_cast<double>(v));
  };
  if (x.numel() > 0) detail::each_shown(x.shape(), x.strides(), summarise, options.edge_items, visit);
  if constexpr (!std::is_integral_v<T>) items = detail::format_reals(reals, options.precision);
  std::size_t width = 0;
  for (const auto& s : items) width = std::max(width, s.size());
  for (auto& s : items) s.insert(0, width - s.size(), ' ');
  std::string body = "[]";
  if (x.numel() > 0) {
    detail::Layout layout{x.shape(), options, summarise, std::move(items)};
    layout.axis(0, 7);
    body = std::move(layout.out);
  }
  return "tensor(" + body + str(", shape=", x.shape(), ", dtype=", x.dtype(), x.requires_grad() ? ", requires_grad=true)" : ")");
}

template <class T>
std::ostream& operator<<(std::ostream& out, const Tensor<T>& x) {
  return out << to_string(x);
}

}  // namespace moelle

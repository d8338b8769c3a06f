// Functions of one tensor, reductions and sorting.
#include <moelle/tensor/math_op.hpp>
#include <moelle/tensor/reduce_op.hpp>
#include <moelle/tensor/sort_op.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

template <class List, class F>
void def_unary(py::module_& m, const char* op, List list, F f) {
  m.def(op, [=](const Value& x) { return dispatch(list, op, x, f); }, py::arg("input"));
}
template <class List, class F>
void def_reduction(py::module_& m, const char* op, List list, F f) {
  m.def(op, [=](const Value& x, std::vector<std::int64_t> dims, bool keepdim) {
    return dispatch(list, op, x, [&](const auto& t) { return f(t, Over{.dims = dims, .keepdim = keepdim}); });
  }, py::arg("input"), py::arg("dims"), py::arg("keepdim"));
}
template <class T>
std::vector<Value> pair_of(const Sorted<T>& s) {
  return {Value(s.values), Value(s.indices)};
}

}  // namespace

void bind_math(py::module_& m) {
  def_unary(m, "exp", Floats{}, [](const auto& t) { return exp(t); });
  def_unary(m, "log", Floats{}, [](const auto& t) { return log(t); });
  def_unary(m, "sqrt", Floats{}, [](const auto& t) { return sqrt(t); });
  def_unary(m, "rsqrt", Floats{}, [](const auto& t) { return rsqrt(t); });
  def_unary(m, "tanh", Floats{}, [](const auto& t) { return tanh(t); });
  def_unary(m, "abs", Numbers{}, [](const auto& t) { return abs(t); });
  def_unary(m, "sign", Numbers{}, [](const auto& t) { return sign(t); });
  m.def("pow", [](const Value& x, double p) { return dispatch(Floats{}, "pow", x, [&](const auto& t) { return pow(t, p); }); });
  m.def("clamp", [](const Value& x, double low, double high) {
    return dispatch(Floats{}, "clamp", x, [&](const auto& t) { return clamp(t, low, high); });
  });

  def_reduction(m, "sum", All{}, [](const auto& t, const Over& over) { return sum(t, over); });
  def_reduction(m, "mean", Floats{}, [](const auto& t, const Over& over) { return mean(t, over); });
  def_reduction(m, "max", All{}, [](const auto& t, const Over& over) { return max(t, over); });
  def_reduction(m, "min", All{}, [](const auto& t, const Over& over) { return min(t, over); });
  def_reduction(m, "argmax", All{}, [](const auto& t, const Over& over) { return argmax(t, over); });
  def_reduction(m, "argmin", All{}, [](const auto& t, const Over& over) { return argmin(t, over); });
  def_reduction(m, "any", Types<bool>{}, [](const auto& t, const Over& over) { return any(t, over); });
  def_reduction(m, "all", Types<bool>{}, [](const auto& t, const Over& over) { return all(t, over); });

  m.def("sort", [](const Value& x, std::int64_t dim, bool descending) {
    return dispatch<std::vector<Value>>(Numbers{}, "sort", x, [&](const auto& t) { return pair_of(sort(t, {.dim = dim, .descending = descending})); });
  });
  m.def("topk", [](const Value& x, std::int64_t k, std::int64_t dim) {
    return dispatch<std::vector<Value>>(Numbers{}, "topk", x, [&](const auto& t) { return pair_of(topk(t, k, dim)); });
  });
  m.def("cumsum", [](const Value& x, std::int64_t dim) { return dispatch(Numbers{}, "cumsum", x, [&](const auto& t) { return cumsum(t, dim); }); });
}

}  // namespace moelle::python

// Views, joins and indexing primitives. Python's x[...] is composed of these in moelle/_indexing.py.
#include <moelle/tensor/index_op.hpp>
#include <moelle/tensor/inplace_op.hpp>
#include <moelle/tensor/join_op.hpp>
#include <moelle/tensor/print_op.hpp>
#include <moelle/tensor/select_op.hpp>
#include <moelle/tensor/view_op.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

// f(index) with int32 or int64 indices.
template <class F>
Value with_index(const char* op, const Value& index, F&& f) {
  return dispatch(Integers{}, op, index, f);
}

template <class T>
std::vector<Tensor<T>> all_as(const char* op, const std::vector<Value>& parts) {
  std::vector<Tensor<T>> out;
  for (const Value& p : parts) out.push_back(as<T>(op, "every tensor", p));
  return out;
}
template <class T>
std::vector<Value> values(const std::vector<Tensor<T>>& parts) {
  return {parts.begin(), parts.end()};
}

void bind_shapes(py::module_& m) {
  m.def("contiguous", [](const Value& x) { return dispatch(All{}, "contiguous", x, [](const auto& t) { return contiguous(t); }); });
  m.def("clone", [](const Value& x) { return dispatch(All{}, "clone", x, [](const auto& t) { return clone(t); }); });
  m.def("reshape", [](const Value& x, const Shape& s) { return dispatch(All{}, "reshape", x, [&](const auto& t) { return reshape(t, s); }); });
  m.def("flatten", [](const Value& x, std::int64_t a, std::int64_t b) { return dispatch(All{}, "flatten", x, [&](const auto& t) { return flatten(t, a, b); }); });
  m.def("unflatten", [](const Value& x, std::int64_t d, const Shape& s) { return dispatch(All{}, "unflatten", x, [&](const auto& t) { return unflatten(t, d, s); }); });
  m.def("permute", [](const Value& x, const std::vector<std::int64_t>& d) { return dispatch(All{}, "permute", x, [&](const auto& t) { return permute(t, d); }); });
  m.def("transpose", [](const Value& x, std::int64_t a, std::int64_t b) { return dispatch(All{}, "transpose", x, [&](const auto& t) { return transpose(t, a, b); }); });
  m.def("squeeze", [](const Value& x, std::int64_t d) { return dispatch(All{}, "squeeze", x, [&](const auto& t) { return squeeze(t, d); }); });
  m.def("unsqueeze", [](const Value& x, std::int64_t d) { return dispatch(All{}, "unsqueeze", x, [&](const auto& t) { return unsqueeze(t, d); }); });
  m.def("expand", [](const Value& x, const Shape& s) { return dispatch(All{}, "expand", x, [&](const auto& t) { return expand(t, s); }); });
  m.def("narrow", [](const Value& x, std::int64_t d, std::int64_t b, std::int64_t n) { return dispatch(All{}, "narrow", x, [&](const auto& t) { return narrow(t, d, b, n); }); });
  m.def("select", [](const Value& x, std::int64_t d, std::int64_t i) { return dispatch(All{}, "select", x, [&](const auto& t) { return select(t, d, i); }); });
  m.def("slice", [](const Value& x, std::int64_t d, std::optional<std::int64_t> b, std::optional<std::int64_t> e, std::int64_t step) {
    return dispatch(All{}, "slice", x, [&](const auto& t) { return slice(t, d, b.value_or(kOpen), e.value_or(kOpen), step); });
  });
  m.def("text", [](const Value& x) { return std::visit([](const auto& t) { return to_string(t); }, x.of); });
}

void bind_joins(py::module_& m) {
  m.def("concat", [](const std::vector<Value>& parts, std::int64_t dim) {
    MOELLE_REQUIRE("cat", !parts.empty(), "tensors must not be empty; got tensors=[]");
    return dispatch(All{}, "cat", parts[0], [&]<class T>(const Tensor<T>&) { return concat(all_as<T>("cat", parts), dim); });
  });
  m.def("stack", [](const std::vector<Value>& parts, std::int64_t dim) {
    MOELLE_REQUIRE("stack", !parts.empty(), "tensors must not be empty; got tensors=[]");
    return dispatch(All{}, "stack", parts[0], [&]<class T>(const Tensor<T>&) { return stack(all_as<T>("stack", parts), dim); });
  });
  m.def("split", [](const Value& x, const std::vector<std::int64_t>& sizes, std::int64_t dim) {
    return dispatch<std::vector<Value>>(All{}, "split", x, [&](const auto& t) { return values(split(t, sizes, dim)); });
  });
  m.def("chunk", [](const Value& x, std::int64_t n, std::int64_t dim) {
    return dispatch<std::vector<Value>>(All{}, "chunk", x, [&](const auto& t) { return values(chunk(t, n, dim)); });
  });
}

void bind_indices(py::module_& m) {
  m.def("gather", [](const Value& x, std::int64_t dim, const Value& index) {
    return std::visit([&](const auto& t) { return with_index("gather", index, [&](const auto& i) { return gather(t, dim, i); }); }, x.of);
  });
  m.def("scatter_add", [](const Value& x, std::int64_t dim, const Value& index, const Value& src) {
    return std::visit([&]<class T>(const Tensor<T>& t) {
      const auto& s = as<T>("scatter_add", "src", src);
      return with_index("scatter_add", index, [&](const auto& i) { return scatter_add(t, dim, i, s); });
    }, x.of);
  });
  m.def("index_select", [](const Value& x, std::int64_t dim, const Value& index) {
    return std::visit([&](const auto& t) { return with_index("index_select", index, [&](const auto& i) { return index_select(t, dim, i); }); }, x.of);
  });
  m.def("index_add", [](const Value& x, std::int64_t dim, const Value& index, const Value& src) {
    return std::visit([&]<class T>(const Tensor<T>& t) {
      const auto& s = as<T>("index_add", "source", src);
      return with_index("index_add", index, [&](const auto& i) { return index_add(t, dim, i, s); });
    }, x.of);
  });
  m.def("index_copy_", [](const Value& x, std::int64_t dim, const Value& index, const Value& src) {
    std::visit([&]<class T>(const Tensor<T>& t) {
      const auto& s = as<T>("index_copy_", "source", src);
      with_index("index_copy_", index, [&](const auto& i) { return index_copy_(t, dim, i, s); });
    }, x.of);
  });
  m.def("nonzero", [](const Value& mask) { return Value(nonzero(as<bool>("nonzero", "mask", mask))); });
  m.def("masked_select", [](const Value& x, const Value& mask) {
    const auto& where = as<bool>("masked_select", "mask", mask);
    return dispatch(All{}, "masked_select", x, [&](const auto& t) { return masked_select(t, where); });
  });
  m.def("one_hot", [](const Value& x, std::int64_t classes) { return with_index("one_hot", x, [&](const auto& t) { return one_hot(t, classes); }); });
  m.def("bincount", [](const Value& x, std::int64_t least) { return with_index("bincount", x, [&](const auto& t) { return bincount(t, least); }); });
}

}  // namespace

void bind_views(py::module_& m) {
  bind_shapes(m);
  bind_joins(m);
  bind_indices(m);
}

}  // namespace moelle::python

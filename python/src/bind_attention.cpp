// Attention in one pass and latent attention.
#include <moelle/attention/attention_op.hpp>
#include <moelle/attention/mla_op.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

template <class T>
attention::Visibility<T> visibility(const char* op, const Value* segments, const Value* mask) {
  return {segments != nullptr ? as_ids(op, *segments) : Tensor<std::int32_t>(), as_optional<T>(op, "mask", mask)};
}

}  // namespace

void bind_attention(py::module_& m) {
  m.def("attention", [](const Value& q, const Value& k, const Value& v, double scale, bool causal, std::int64_t window, const Value* segments, const Value* mask) {
    return dispatch(Reals{}, "attention", q, [&]<class T>(const Tensor<T>& t) {
      return attention::attention(t, as<T>("attention", "key", k), as<T>("attention", "value", v), {.scale = scale, .causal = causal, .window = window},
                                  visibility<T>("attention", segments, mask));
    });
  });
  m.def("mla_expanded", [](const Value& q, const Value& latent, const Value& k_rope, const Value& kv_b, std::int64_t nope, std::int64_t rope, std::int64_t value,
                           double scale, const Value* segments) {
    return dispatch(Reals{}, "mla_expanded", q, [&]<class T>(const Tensor<T>& t) {
      return attention::mla_expanded(t, as<T>("mla_expanded", "latent", latent), as<T>("mla_expanded", "k_rope", k_rope), as<T>("mla_expanded", "kv_b", kv_b),
                                     {nope, rope, value}, {.scale = scale}, visibility<T>("mla_expanded", segments, nullptr));
    });
  });
  m.def("mla_absorbed", [](const Value& q, const Value& cache, const Value& kv_b, std::int64_t nope, std::int64_t rope, std::int64_t value, double scale,
                           const Value* segments) {
    return dispatch(Reals{}, "mla_absorbed", q, [&]<class T>(const Tensor<T>& t) {
      return attention::mla_absorbed(t, as<T>("mla_absorbed", "cache", cache), as<T>("mla_absorbed", "kv_b", kv_b), {nope, rope, value}, {.scale = scale},
                                     visibility<T>("mla_absorbed", segments, nullptr));
    });
  });
}

}  // namespace moelle::python

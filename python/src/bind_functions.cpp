// Products, norms, activations, rotary embedding, embedding and losses.
#include <moelle/activation/swiglu_op.hpp>
#include <moelle/activation/unary_op.hpp>
#include <moelle/embedding/embedding_op.hpp>
#include <moelle/gemm/grouped_op.hpp>
#include <moelle/gemm/linear_op.hpp>
#include <moelle/gemm/matmul_op.hpp>
#include <moelle/loss/cross_entropy_op.hpp>
#include <moelle/loss/linear_cross_entropy_op.hpp>
#include <moelle/norm/rms_norm_op.hpp>
#include <moelle/norm/softmax_op.hpp>
#include <moelle/rope/rope_op.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

// f(index) with int32 or int64 elements, for use where the GIL is released already.
template <class F>
auto with_ids(const char* op, const Value& ids, F&& f) {
  if (const auto* t = std::get_if<Tensor<std::int64_t>>(&ids.of)) return f(*t);
  if (const auto* t = std::get_if<Tensor<std::int32_t>>(&ids.of)) return f(*t);
  wrong_dtype(op, ids.dtype(), {DType::int32, DType::int64});
}

loss::CrossEntropyParams loss_params(std::int64_t ignore_index, const std::string& reduction, double z_loss, double normalizer) {
  MOELLE_REQUIRE("cross_entropy", reduction == "mean" || reduction == "sum", "reduction must be mean or sum; got reduction=" + reduction);
  return {.ignore_index = ignore_index, .reduction = reduction == "mean" ? loss::Reduction::mean : loss::Reduction::sum, .z_loss = z_loss, .normalizer = normalizer};
}

void bind_products(py::module_& m) {
  m.def("linear", [](const Value& x, const Value& w, const Value* bias) {
    return dispatch(Reals{}, "linear", x, [&]<class T>(const Tensor<T>& t) {
      return linear(t, as<T>("linear", "weight", w), as_optional<T>("linear", "bias", bias));
    });
  });
  m.def("matmul", [](const Value& a, const Value& b) {
    return dispatch(Reals{}, "matmul", a, [&]<class T>(const Tensor<T>& t) { return matmul(t, as<T>("matmul", "other", b)); });
  });
  m.def("grouped_linear", [](const Value& x, const Value& w, const Value& offsets) {
    return dispatch(Reals{}, "grouped_linear", x, [&]<class T>(const Tensor<T>& t) {
      return grouped_linear(t, as<T>("grouped_linear", "weight", w), as<std::int32_t>("grouped_linear", "offsets", offsets));
    });
  });
  m.def("embedding", [](const Value& ids, const Value& weight) {
    return dispatch(Reals{}, "embedding", weight, [&](const auto& w) {
      return with_ids("embedding", ids, [&](const auto& i) { return embedding::embedding(i, w); });
    });
  });
}

void bind_norms(py::module_& m) {
  m.def("rms_norm", [](const Value& x, const Value* weight, double eps) {
    return dispatch(Reals{}, "rms_norm", x, [&]<class T>(const Tensor<T>& t) { return norm::rms_norm(t, as_optional<T>("rms_norm", "weight", weight), eps); });
  });
  m.def("add_rms_norm", [](const Value& x, const Value& residual, const Value* weight, double eps) {
    return dispatch<std::vector<Value>>(Reals{}, "add_rms_norm", x, [&]<class T>(const Tensor<T>& t) {
      const auto r = norm::add_rms_norm(t, as<T>("add_rms_norm", "residual", residual), as_optional<T>("add_rms_norm", "weight", weight), eps);
      return std::vector<Value>{r.sum, r.normed};
    });
  });
  m.def("softmax", [](const Value& x, std::int64_t dim) { return dispatch(Reals{}, "softmax", x, [&](const auto& t) { return norm::softmax(t, dim); }); });
  m.def("log_softmax", [](const Value& x, std::int64_t dim) { return dispatch(Reals{}, "log_softmax", x, [&](const auto& t) { return norm::log_softmax(t, dim); }); });
}

void bind_activations(py::module_& m) {
  const auto def = [&](const char* op, activation::Unary f) {
    m.def(op, [=](const Value& x) { return dispatch(Reals{}, op, x, [&](const auto& t) { return activation::unary(f, t); }); });
  };
  def("sigmoid", activation::Unary::sigmoid);
  def("silu", activation::Unary::silu);
  def("softplus", activation::Unary::softplus);
  def("relu", activation::Unary::relu);
  m.def("gelu", [](const Value& x, const std::string& approximate) {
    MOELLE_REQUIRE("gelu", approximate == "none" || approximate == "tanh", "approximate must be none or tanh; got approximate=" + approximate);
    return dispatch(Reals{}, "gelu", x, [&](const auto& t) { return activation::gelu(t, approximate == "none" ? activation::Gelu::exact : activation::Gelu::tanh); });
  });
  m.def("swiglu", [](const Value& gate, const Value* up, double limit) {
    return dispatch(Reals{}, "swiglu", gate, [&]<class T>(const Tensor<T>& g) {
      if (up == nullptr) return activation::swiglu_packed(g, {.limit = limit});
      return activation::swiglu(g, as<T>("swiglu", "up", *up), {.limit = limit});
    });
  });
}

void bind_rope(py::module_& m) {
  py::enum_<rope::Layout>(m, "RopeLayout")
      .value("interleaved", rope::Layout::interleaved).value("half_split", rope::Layout::half_split).value("deinterleave", rope::Layout::deinterleave);
  m.def("rope_tables", [](const rope::RopeParams& p, std::int64_t positions, const py::object& dtype) {
    const auto tables = [&]<class T>() {
      const auto r = released([&] { return rope::make_tables<T>(p, positions); });
      return py::make_tuple(Value(r.cos), Value(r.sin), r.softmax_scale);
    };
    const DType t = to_dtype(dtype);
    if (t == DType::float32) return tables.template operator()<float>();
    if (t == DType::float64) return tables.template operator()<double>();
    wrong_dtype("rope_tables", t, {DType::float32, DType::float64});
  });
  py::enum_<rope::Scaling>(m, "RopeScalingKind")
      .value("none", rope::Scaling::none).value("linear", rope::Scaling::linear).value("ntk", rope::Scaling::ntk).value("yarn", rope::Scaling::yarn);
  py::class_<rope::RopeParams>(m, "RopeParams")
      .def(py::init([](std::int64_t dim, double theta, rope::Scaling scaling, double factor, std::int64_t original, double fast, double slow, double mscale,
                       double mscale_all_dim, std::optional<double> attention_factor, bool truncate) {
             return rope::RopeParams{.dim = dim, .theta = theta, .scaling = scaling, .factor = factor, .original_max_position = original, .beta_fast = fast,
                                     .beta_slow = slow, .mscale = mscale, .mscale_all_dim = mscale_all_dim, .attention_factor = attention_factor, .truncate = truncate};
           }),
           py::kw_only(), py::arg("dim"), py::arg("theta"), py::arg("scaling"), py::arg("factor"), py::arg("original_max_position"), py::arg("beta_fast"),
           py::arg("beta_slow"), py::arg("mscale"), py::arg("mscale_all_dim"), py::arg("attention_factor"), py::arg("truncate"));
  m.def("rope", [](const Value& x, const Value& positions, const Value& cos, const Value& sin, rope::Layout layout, std::int64_t offset, bool inverse) {
    return dispatch(Reals{}, "rope", x, [&]<class T>(const Tensor<T>& t) {
      const auto &c = as<T>("rope", "cos", cos), &s = as<T>("rope", "sin", sin);
      return with_ids("rope", positions, [&](const auto& p) { return rope::rope(t, p, c, s, {.layout = layout, .offset = offset, .inverse = inverse}); });
    });
  });
}

void bind_losses(py::module_& m) {
  m.def("cross_entropy", [](const Value& logits, const Value& labels, const Value* weight, std::int64_t ignore, const std::string& reduction, double z, double normalizer) {
    const auto p = loss_params(ignore, reduction, z, normalizer);
    return dispatch(Reals{}, "cross_entropy", logits, [&]<class T>(const Tensor<T>& t) {
      const auto w = as_optional<T>("cross_entropy", "weight", weight);
      return with_ids("cross_entropy", labels, [&](const auto& y) { return loss::cross_entropy(t, y, p, w); });
    });
  });
  m.def("linear_cross_entropy", [](const Value& hidden, const Value& projection, const Value& labels, const Value* weight, std::int64_t ignore, const std::string& reduction,
                                   double z, double normalizer) {
    const auto p = loss_params(ignore, reduction, z, normalizer);
    return dispatch(Reals{}, "linear_cross_entropy", hidden, [&]<class T>(const Tensor<T>& t) {
      const auto w = as_optional<T>("linear_cross_entropy", "weight", weight);
      const auto& head = as<T>("linear_cross_entropy", "projection", projection);
      return with_ids("linear_cross_entropy", labels, [&](const auto& y) { return loss::linear_cross_entropy(t, head, y, p, w); });
    });
  });
  m.def("token_log_probs", [](const Value& logits, const Value& labels, std::int64_t ignore) {
    return dispatch(Reals{}, "token_log_probs", logits, [&](const auto& t) {
      return with_ids("token_log_probs", labels, [&](const auto& y) { return loss::token_log_probs(t, y, ignore); });
    });
  });
}

}  // namespace

void bind_functions(py::module_& m) {
  bind_products(m);
  bind_norms(m);
  bind_activations(m);
  bind_rope(m);
  bind_losses(m);
}

}  // namespace moelle::python

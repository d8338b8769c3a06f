// moelle/loss/cross_entropy.hpp -- next-token loss, on logits or fused with the output projection: the contract.
//
// Axes: N tokens (the product of all axes of `labels`), V vocabulary, D width of the hidden states.
//   logits [N, V], or hidden [N, D] and weight [V, D] with logits = hidden weight^T; labels [N], int32 or int64
// With lse_i = log sum_j e^(x_ij), w the label weights (1 if none are given) and z = z_loss:
//   l_i  = w[y_i] (lse_i - x_i[y_i] + z lse_i^2)     0 where y_i = ignore_index
//   L    = sum_i l_i / n,  n = sum of w[y_i] over targets (mean), 1 (sum), or `normalizer` where that is given
//   dL/dx_ij = w[y_i] / n (p_ij (1 + 2 z lse_i) - [j = y_i])
// z-loss: PaLM (arXiv:2204.02311), section 5.
//
// No targets (none at all, or all ignored): loss 0, gradients 0. Ignored rows contribute nothing, NaN in them included; NaN or
// +infinity in another row gives NaN. A label outside [0, V) is an error that names it and its position.
// Tokens' losses are computed and summed, in order, in double.
#pragma once
#include <cmath>
#include <cstdint>

#include <moelle/core/error.hpp>
#include <moelle/core/shape.hpp>

namespace moelle::loss {

enum class Reduction : std::uint8_t { mean, sum };

struct CrossEntropyParams {
  std::int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  double z_loss = 0.0;
  double normalizer = 0.0;  // > 0: takes the place of mean's n, e.g. the targets of all accumulated micro-batches
};

inline void check(const CrossEntropyParams& p) {
  MOELLE_REQUIRE("cross_entropy", std::isfinite(p.z_loss) && p.z_loss >= 0, str("z_loss must not be negative; got z_loss=", p.z_loss));
  MOELLE_REQUIRE("cross_entropy", std::isfinite(p.normalizer) && p.normalizer >= 0,
                 str("normalizer must be positive, or 0 for none; got normalizer=", p.normalizer));
  MOELLE_REQUIRE("cross_entropy", p.normalizer == 0 || p.reduction == Reduction::mean,
                 str("normalizer belongs to reduction mean; got normalizer=", p.normalizer, " reduction=sum"));
}
// x is logits [..., V] or hidden [..., D]; label_weight is null where none is given.
inline void check_shapes(const char* op, const Shape& x, const Shape& labels, std::int64_t V, const Shape* label_weight) {
  Shape rows = x;
  if (rows.rank() > 0) rows.erase(rows.rank() - 1);
  MOELLE_REQUIRE(op, x.rank() >= 1 && rows == labels, str("labels must have the shape of the input without its last axis; got input=", x, " labels=", labels));
  MOELLE_REQUIRE(op, label_weight == nullptr || (label_weight->rank() == 1 && label_weight->back() == V),
                 str("label_weight must be [V]; got label_weight=", *label_weight, " V=", V));
}
inline void check_projection(const Shape& hidden, const Shape& weight) {
  MOELLE_REQUIRE("linear_cross_entropy", hidden.rank() >= 1 && weight.rank() == 2 && weight[1] == hidden.back(),
                 str("hidden must be [..., D] and weight [V, D]; got hidden=", hidden, " weight=", weight));
}
inline void check_label(const char* op, std::int64_t label, std::int64_t i, std::int64_t V) {
  MOELLE_REQUIRE(op, label >= 0 && label < V, str("labels must be in [0, V) or ignore_index; got labels[", i, "]=", label, " V=", V));
}

}  // namespace moelle::loss

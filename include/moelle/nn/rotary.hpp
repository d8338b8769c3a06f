// moelle/nn/rotary.hpp -- the rotary tables of a model, made once and shared by its layers.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/rope/rope_op.hpp>

namespace moelle::nn {

template <class T>
class Rotary {
 public:
  Rotary(const rope::RopeParams& params, rope::Layout layout, std::int64_t max_positions)
      : params_(params), layout_(layout), max_(max_positions), softmax_scale_(rope::frequencies(params).softmax_scale) {
    MOELLE_REQUIRE("Rotary", max_positions > 0, str("max_positions must be positive; got max_positions=", max_positions));
  }
  // x [B, T, H, D]: rotates channels [offset, offset + dim) of tokens first, first + 1, ...
  Tensor<T> rotate(const Tensor<T>& x, std::int64_t first, std::int64_t offset) {
    const std::int64_t end = first + x.size(1);
    MOELLE_REQUIRE("rope", end <= max_, str("positions must stay below max_position_embeddings; got last position ", end - 1, " max_position_embeddings=", max_));
    if (!tables_.cos.defined() || tables_.cos.size(0) < end) tables_ = rope::make_tables<T>(params_, std::min(max_, std::max<std::int64_t>(256, 2 * end)));
    const rope::RopeOptions options{.layout = layout_, .offset = offset};
    return rope::rope(x, Tensor<std::int32_t>::arange(first, end), tables_, options);
  }
  double softmax_scale() const { return softmax_scale_; }  // multiplies head_size^-1/2

 private:
  rope::RopeParams params_;
  rope::Layout layout_;
  std::int64_t max_;
  double softmax_scale_;
  rope::RopeTables<T> tables_;
};

}  // namespace moelle::nn

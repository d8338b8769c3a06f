// moelle/models/mtp.hpp -- a multi-token prediction module of DeepSeek-V3 (arXiv:2412.19437, section 2.2).
//
// Depth k takes the hidden states of depth k - 1 (the main model's after its final norm, as released runtimes do) and the
// embeddings of the tokens k places ahead:  h' = M [norm(embedding); norm(hidden)], one decoder layer, a norm, the shared head.
// eh_proj takes the embedding first, as in the released checkpoints; the paper writes the hidden state first.
#pragma once
#include <memory>

#include <moelle/models/decoder.hpp>

namespace moelle::models {

template <class T>
class MtpLayer : public DecoderLayer<T> {
 public:
  MtpLayer(const Config& config, std::int64_t layer, const std::shared_ptr<nn::Rotary<T>>& rotary) : DecoderLayer<T>(config, layer, rotary) {
    const std::int64_t D = config.hidden_size;
    this->register_module("enorm", enorm, norm_of<T>(config));
    this->register_module("hnorm", hnorm, norm_of<T>(config));
    this->register_module("eh_proj", eh_proj, std::make_shared<nn::Linear<T>>(2 * D, D, false, kNoInit));
    this->register_module("shared_head", shared_head, std::make_shared<nn::Module<T>>());
    shared_head->add_module("norm", norm_of<T>(config));
  }

  // hidden, embedding [B, T, D] -> input of the decoder layer [B, T, D].
  Tensor<T> combine(const Tensor<T>& hidden, const Tensor<T>& embedding) {
    return eh_proj->forward(concat<T>({enorm->forward(embedding), hnorm->forward(hidden)}, -1));
  }
  // What the shared output head reads.
  Tensor<T> head_norm(const Tensor<T>& x) { return shared_head->find_module("norm")->forward(x); }

  std::shared_ptr<nn::Module<T>> enorm, hnorm, eh_proj, shared_head;
};

}  // namespace moelle::models

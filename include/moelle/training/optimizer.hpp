// moelle/training/optimizer.hpp -- parameter groups, AdamW and Muon over them, gradient norms.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moelle/autograd/meta.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/nn/module.hpp>
#include <moelle/training/kernels.hpp>
#include <moelle/training/muon.hpp>

namespace moelle::training {

enum class Method : std::uint8_t { adamw, muon };

// One parameter: for Muon `count` matrices [rows, cols] that lie one after the other (all experts of a layer, gate and up).
template <class T>
struct Parameter {
  std::string name;
  Tensor<T> tensor;
  std::int64_t count = 1, rows = 0, cols = 0;
};

template <class T>
struct ParameterGroup {
  Method method = Method::adamw;
  std::vector<Parameter<T>> parameters;
  double lr_scale = 1.0;  // times the scheduled learning rate
  double weight_decay = 0.0;
};

struct OptimizerOptions {
  Method method = Method::muon;  // of the matrices; embedding, head, router, norms and biases always take AdamW
  double weight_decay = 0.1;     // matrices only
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  MuonOptions muon = {};
};

inline void check(const OptimizerOptions& o) {
  MOELLE_REQUIRE("optimizer", o.weight_decay >= 0 && o.eps >= 0, str("weight_decay and eps must not be negative; got weight_decay=", o.weight_decay, " eps=", o.eps));
  MOELLE_REQUIRE("optimizer", o.beta1 >= 0 && o.beta1 < 1 && o.beta2 >= 0 && o.beta2 < 1,
                 str("beta1 and beta2 must be in [0, 1); got beta1=", o.beta1, " beta2=", o.beta2));
  MOELLE_REQUIRE("optimizer", o.muon.precision != gemm::Precision::fp8, "muon.precision must be f32 or bf16; got fp8");
  MOELLE_REQUIRE("optimizer", o.muon.momentum >= 0 && o.muon.momentum < 1 && o.muon.rms > 0,
                 str("momentum must be in [0, 1) and rms positive; got momentum=", o.muon.momentum, " rms=", o.muon.rms));
}

// The groups of a model: what the state dict names as matrices goes to options.method with decay, the rest to AdamW;
// embedding and head matrices take AdamW with decay, the router too.
template <class T>
std::vector<ParameterGroup<T>> make_groups(nn::Module<T>& model, const OptimizerOptions& options) {
  check(options);
  const auto entries = model.state_entries();
  ParameterGroup<T> hidden{options.method, {}, 1.0, options.weight_decay}, tables{Method::adamw, {}, 1.0, options.weight_decay}, rest;
  for (auto& [name, p] : model.named_parameters()) {
    if (!p.requires_grad()) continue;
    std::int64_t count = 0;
    const nn::StateEntry<T>* first = nullptr;
    bool alike = true;
    for (const auto& e : entries) {
      if (!e.source.same(p)) continue;
      if (first == nullptr) first = &e;
      alike &= e.shape == first->shape;
      ++count;
    }
    const bool matrix = first != nullptr && first->shape.rank() == 2 && alike;
    const auto has = [&, &n = name](const char* part) { return n.find(part) != std::string::npos; };
    const bool table = has("embed_tokens") || has("lm_head") || has("shared_head") || ("." + name).find(".gate.") != std::string::npos;
    if (!matrix) {
      rest.parameters.push_back({name, p});
    } else {
      (table ? tables : hidden).parameters.push_back({name, p, count, first->shape[0], first->shape[1]});
    }
  }
  return {hidden, tables, rest};
}

// Sum of squares of all gradients: doubles, fixed chunks, in order of the parameters.
template <class T>
double grad_norm(const std::vector<Tensor<T>>& parameters) {
  constexpr std::int64_t kChunk = 1 << 14;
  std::vector<std::pair<const T*, std::int64_t>> pieces;
  std::vector<Tensor<T>> keep;
  for (const auto& p : parameters) {
    Tensor<T> g = p.grad();
    if (!g.defined()) continue;
    if (!g.is_contiguous()) g = Tensor<T>::from(g.to_vector(), g.shape());
    for (std::int64_t i = 0; i < g.numel(); i += kChunk) pieces.emplace_back(g.data() + i, std::min(kChunk, g.numel() - i));
    keep.push_back(g);
  }
  std::vector<double> sums(pieces.size());
  parallel_rows(static_cast<std::int64_t>(pieces.size()), 2, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) sums[i] = kernels<T>().sum_of_squares(pieces[i].first, pieces[i].second);
  });
  double total = 0.0;
  for (const double s : sums) total += s;
  return std::sqrt(total);
}

template <class T>
class Optimizer {
 public:
  Optimizer(std::vector<ParameterGroup<T>> groups, const OptimizerOptions& options) : options_(options), groups_(std::move(groups)) {
    check(options);
    for (const auto& g : groups_)
      for (const auto& p : g.parameters) {
        states_.push_back({Tensor<T>::zeros(p.tensor.shape()), g.method == Method::adamw ? Tensor<T>::zeros(p.tensor.shape()) : Tensor<T>()});
        MOELLE_REQUIRE("optimizer", g.method == Method::adamw || p.count * p.rows * p.cols == p.tensor.numel(),
                       str("Muon needs matrices; got ", p.name, " of shape ", p.tensor.shape()));
      }
  }

  // One update of all parameters that have a gradient; gradients are multiplied by grad_scale first.
  void step(double lr, double grad_scale = 1.0) {
    MOELLE_REQUIRE("optimizer", lr >= 0 && std::isfinite(lr), str("lr must be finite and not negative; got lr=", lr));
    ++steps_;
    std::size_t s = 0;
    for (const auto& g : groups_) {
      if (g.method == Method::adamw) {
        adamw(g, s, lr * g.lr_scale, grad_scale);
      } else {
        muon(g, s, lr * g.lr_scale, grad_scale);
      }
      s += g.parameters.size();
    }
  }
  void zero_grad() {
    for (const auto& p : parameters()) p.zero_grad();
  }
  std::vector<Tensor<T>> parameters() const {
    std::vector<Tensor<T>> out;
    for (const auto& g : groups_)
      for (const auto& p : g.parameters) out.push_back(p.tensor);
    return out;
  }
  const std::vector<ParameterGroup<T>>& groups() const { return groups_; }
  // New factors of the learning rate and new decays, one of each per group.
  void set_rates(const std::vector<double>& lr_scale, const std::vector<double>& weight_decay) {
    MOELLE_REQUIRE("optimizer", lr_scale.size() == groups_.size() && weight_decay.size() == groups_.size(),
                   str("there must be one rate and one decay per group; got lr_scale=", lr_scale.size(), " weight_decay=", weight_decay.size(), " groups=", groups_.size()));
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      MOELLE_REQUIRE("optimizer", lr_scale[i] >= 0 && std::isfinite(lr_scale[i]) && weight_decay[i] >= 0 && std::isfinite(weight_decay[i]),
                     str("lr and weight_decay must be finite and not negative; got lr=", lr_scale[i], " weight_decay=", weight_decay[i]));
      groups_[i].lr_scale = lr_scale[i];
      groups_[i].weight_decay = weight_decay[i];
    }
  }
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t n) { steps_ = n; }

  // Moments under "<parameter>.exp_avg", ".exp_avg_sq" (AdamW) and ".momentum" (Muon); they share memory with the optimiser.
  nn::Named<T> state() const {
    nn::Named<T> out;
    std::size_t s = 0;
    for (const auto& g : groups_)
      for (const auto& p : g.parameters) {
        const auto& m = states_[s++];
        out.emplace_back(p.name + (m.second.defined() ? ".exp_avg" : ".momentum"), m.first);
        if (m.second.defined()) out.emplace_back(p.name + ".exp_avg_sq", m.second);
      }
    return out;
  }

 private:
  struct Moments {
    Tensor<T> first, second;
  };

  // All tensors of a group are cut into pieces of one size, so that many small ones cost no more than few large ones.
  void adamw(const ParameterGroup<T>& g, std::size_t s, double lr, double grad_scale) {
    constexpr std::int64_t kPiece = 1 << 14;
    struct Piece {
      T *w, *m, *v;
      const T* g;
      std::int64_t n;
    };
    std::vector<Piece> pieces;
    std::vector<Tensor<T>> keep;
    for (const auto& p : g.parameters) {
      const auto& state = states_[s++];
      Tensor<T> grad = p.tensor.grad();
      if (!grad.defined()) continue;
      if (!grad.is_contiguous()) grad = Tensor<T>::from(grad.to_vector(), grad.shape());
      keep.push_back(grad);
      for (std::int64_t i = 0; i < grad.numel(); i += kPiece)
        pieces.push_back({p.tensor.data() + i, state.first.data() + i, state.second.data() + i, grad.data() + i, std::min(kPiece, grad.numel() - i)});
      p.tensor.bump_version();
    }
    const auto t = static_cast<double>(steps_);
    const AdamWStep step{.lr = lr, .beta1 = options_.beta1, .beta2 = options_.beta2, .eps = options_.eps, .decay = g.weight_decay,
                         .correction1 = 1 - std::pow(options_.beta1, t), .correction2 = 1 - std::pow(options_.beta2, t), .grad_scale = grad_scale};
    const auto& k = kernels<T>();
    parallel_rows(static_cast<std::int64_t>(pieces.size()), 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
        k.adamw(pieces[i].w, pieces[i].g, pieces[i].m, pieces[i].v, pieces[i].n, step);
    });
  }

  // Small matrices are one task each, so that all steps of one run in the caches of one core; a large one takes the pool.
  void muon(const ParameterGroup<T>& g, std::size_t s, double lr, double grad_scale) {
    struct Job {
      T *w, *m;
      const T* g;
      std::int64_t rows, cols;
    };
    std::vector<Job> small, large;
    std::vector<Tensor<T>> keep;
    for (const auto& p : g.parameters) {
      const auto& state = states_[s++];
      Tensor<T> grad = p.tensor.grad();
      if (!grad.defined()) continue;
      if (!grad.is_contiguous()) grad = Tensor<T>::from(grad.to_vector(), grad.shape());
      keep.push_back(grad);
      const std::int64_t size = p.rows * p.cols;
      for (std::int64_t i = 0; i < p.count; ++i)
        (size <= kLargeMatrix ? small : large).push_back({p.tensor.data() + i * size, state.first.data() + i * size, grad.data() + i * size, p.rows, p.cols});
      p.tensor.bump_version();
    }
    const auto steps = newton_schulz_steps(options_.muon.steps);
    const auto update = [&](const Job& j, MuonThreads threads) {
      thread_local gemm::Buffer own;
      const std::int64_t n = j.rows * j.cols;
      T* u = own.reserve<T>(n + orthogonalize_scratch(j.rows, j.cols));
      muon_one(j.w, j.g, j.m, j.rows, j.cols, steps, lr, g.weight_decay, grad_scale, u, u + n, threads);
    };
    parallel_for(static_cast<std::int64_t>(small.size()), [&](std::int64_t i) { update(small[static_cast<std::size_t>(i)], MuonThreads::own); });
    for (const Job& j : large) update(j, MuonThreads::all);
  }
  static constexpr std::int64_t kLargeMatrix = 1 << 18;

  void muon_one(T* w, const T* g, T* m, std::int64_t rows, std::int64_t cols, const std::vector<Polynomial>& steps, double lr, double decay,
                double grad_scale, T* u, T* scratch, MuonThreads threads) const {
    const auto mu = static_cast<T>(options_.muon.momentum), scale = static_cast<T>(grad_scale);
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      const T grad = scale * g[i];
      m[i] = mu * m[i] + grad;
      u[i] = options_.muon.nesterov ? grad + mu * m[i] : m[i];
    }
    orthogonalize(u, rows, cols, steps, scratch, options_.muon.precision, threads);
    const auto by = static_cast<T>(lr * options_.muon.rms * std::sqrt(static_cast<double>(std::max(rows, cols))));
    const auto keep = static_cast<T>(1 - lr * decay);
    for (std::int64_t i = 0; i < rows * cols; ++i) w[i] = keep * w[i] - by * u[i];
  }

  OptimizerOptions options_;
  std::vector<ParameterGroup<T>> groups_;
  std::vector<Moments> states_;
  std::int64_t steps_ = 0;
};

}  // namespace moelle::training

// moelle/training/loader.hpp -- batches of windows over packed documents, in an order that is a function of (seed, step).
//
// Documents are laid end to end, a zero byte between them, in an order drawn for each epoch; the row of tokens is cut into
// windows of seq_len + 1 that overlap by one token, and the windows are drawn without repetition. So batch `step` can be
// made without making any other: the loader's only state is the step.
#pragma once
#include <algorithm>
#include <cstdint>
#include <future>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <moelle/core/tensor.hpp>
#include <moelle/training/corpus.hpp>

namespace moelle::training {

struct Batch {
  Tensor<std::int32_t> ids;       // [B, T]
  Tensor<std::int32_t> labels;    // [B, T], the next tokens
  Tensor<std::int32_t> segments;  // [B, T], number of the document inside the window; undefined unless asked for
};

struct LoaderOptions {
  std::int64_t batch_size = 16;
  std::int64_t seq_len = 128;
  std::uint64_t seed = 0;
  bool shuffle = true;
  bool segments = false;  // report document boundaries, so that attention can stay inside a document
};

class ByteLoader {
 public:
  ByteLoader(const std::vector<Document>& documents, const LoaderOptions& options) : documents_(&documents), options_(options) {
    MOELLE_REQUIRE("loader", options.batch_size > 0 && options.seq_len > 0,
                   str("sizes must be positive; got batch_size=", options.batch_size, " seq_len=", options.seq_len));
    std::int64_t bytes = 0;
    for (const auto& d : documents) bytes += static_cast<std::int64_t>(d.bytes.size()) + 1;
    windows_ = (bytes - 1) / options.seq_len;
    MOELLE_REQUIRE("loader", windows_ >= options.batch_size,
                   str("documents must fill one batch; got bytes=", bytes, " batch_size=", options.batch_size, " seq_len=", options.seq_len));
  }
  ByteLoader(std::vector<Document>&&, const LoaderOptions&) = delete;  // documents must outlive the loader
  ByteLoader(const ByteLoader&) = delete;                              // the thread that reads ahead holds this address
  ByteLoader& operator=(const ByteLoader&) = delete;

  std::int64_t batches_per_epoch() const { return windows_ / options_.batch_size; }

  // Batch number `index` counted from the start of training. The next one is made meanwhile on another thread.
  Batch batch(std::int64_t index) {
    MOELLE_REQUIRE("loader", index >= 0, str("batch number must not be negative; got index=", index));
    Batch b;
    if (ahead_.valid() && ahead_index_ == index) {
      b = ahead_.get();
    } else {
      if (ahead_.valid()) ahead_.wait();  // it uses the same epoch tables
      b = make(index);
    }
    ahead_index_ = index + 1;
    ahead_ = std::async(std::launch::async, [this, index] { return make(index + 1); });
    return b;
  }

 private:
  void start_epoch(std::int64_t epoch) {
    if (epoch == epoch_) return;
    const auto shuffled = [&](std::size_t n, const char* what) {
      std::vector<std::uint32_t> order(n);
      std::iota(order.begin(), order.end(), 0u);
      const random::Stream stream(options_.seed, str(what, "/", epoch));
      if (options_.shuffle)
        for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[stream.below(i, i)]);
      return order;
    };
    tokens_.clear();
    starts_.clear();
    for (const std::uint32_t d : shuffled(documents_->size(), "data/documents")) {
      starts_.push_back(tokens_.size());
      tokens_ += (*documents_)[d].bytes;
      tokens_ += '\0';
    }
    order_ = shuffled(static_cast<std::size_t>(windows_), "data/windows");
    epoch_ = epoch;
  }

  Batch make(std::int64_t index) {
    start_epoch(index / batches_per_epoch());
    const std::int64_t B = options_.batch_size, T = options_.seq_len;
    Batch batch{Tensor<std::int32_t>::empty({B, T}), Tensor<std::int32_t>::empty({B, T}),
                options_.segments ? Tensor<std::int32_t>::empty({B, T}) : Tensor<std::int32_t>()};
    for (std::int64_t r = 0; r < B; ++r) {
      const std::int64_t first = std::int64_t{order_[static_cast<std::size_t>(index % batches_per_epoch() * B + r)]} * T;
      const auto* bytes = reinterpret_cast<const unsigned char*>(tokens_.data()) + first;
      for (std::int64_t t = 0; t < T; ++t) {
        batch.ids.data()[r * T + t] = bytes[t];
        batch.labels.data()[r * T + t] = bytes[t + 1];
      }
      if (options_.segments) mark_documents(first, batch.segments.data() + r * T);
    }
    return batch;
  }
  void mark_documents(std::int64_t first, std::int32_t* out) const {
    auto next = std::upper_bound(starts_.begin(), starts_.end(), static_cast<std::size_t>(first));
    std::int32_t document = 0;
    for (std::int64_t t = 0; t < options_.seq_len; ++t) {
      if (next != starts_.end() && *next == static_cast<std::size_t>(first + t)) ++document, ++next;
      out[t] = document;
    }
  }

  const std::vector<Document>* documents_;
  LoaderOptions options_;
  std::int64_t windows_ = 0, epoch_ = -1, ahead_index_ = -1;
  std::string tokens_;
  std::vector<std::size_t> starts_;
  std::vector<std::uint32_t> order_;
  std::future<Batch> ahead_;  // last: waits for its thread before the rest is destroyed
};

}  // namespace moelle::training

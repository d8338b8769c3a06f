// moelle/training/log.hpp -- metrics of a run, one line per step: JSON lines or, for a path that ends in ".csv", a table.
//
//   {"step":12,"loss":1.25,"grad_norm":0.5}                          JSON has no NaN and no infinities: they become null
//   step,loss,grad_norm                                              the first line of a table names its columns
// Lines are handed to the system as they are written, so a killed run loses none but the last, which may be cut. Opening
// for a resumed run keeps the whole lines of steps before `resume_step` and drops the rest: those steps come again.
// Numbers have 17 digits and read back as the same doubles.
#pragma once
#include <charconv>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/io/file.hpp>
#include <moelle/training/trainer.hpp>

namespace moelle::training {

using Metrics = std::vector<std::pair<std::string, double>>;

inline Metrics metrics_of(const StepReport& r) {
  return {{"loss", r.loss}, {"mtp_loss", r.mtp_loss}, {"balance_loss", r.balance_loss}, {"grad_norm", r.grad_norm}, {"lr", r.lr},
          {"tokens", static_cast<double>(r.tokens)}, {"seconds", r.seconds}, {"max_violation", r.max_violation},
          {"dead_experts", static_cast<double>(r.dead_experts)}, {"skipped", r.skipped.empty() ? 0.0 : 1.0}};
}

class MetricLog {
 public:
  // resume_step 0 starts anew.
  explicit MetricLog(std::string path, std::int64_t resume_step = 0) : path_(std::move(path)), csv_(path_.ends_with(".csv")) {
    MOELLE_REQUIRE("log", resume_step >= 0, str("resume_step must not be negative; got resume_step=", resume_step));
    std::string kept;
    if (resume_step > 0 && std::filesystem::exists(path_)) kept = lines_before(io::read_file(path_, kMaxBytes), resume_step);
    if (csv_) header_ = kept.substr(0, kept.find('\n'));
    io::atomic_write_file(path_, kept);
    out_.open(path_, std::ios::binary | std::ios::app);
    MOELLE_REQUIRE("log", out_.good(), str("path must be writable; got path=", path_));
  }

  // Names must be plain words; a table's must be the same in every line.
  void write(std::int64_t step, const Metrics& metrics) {
    for (const auto& [name, value] : metrics)
      MOELLE_REQUIRE("log", !name.empty() && name != "step" && name.find_first_not_of(kNameCharacters) == std::string::npos,
                     str("names must be words of letters, digits and _ . / -, and not step; got name=", name));
    out_ << (csv_ ? table_line(step, metrics) : json_line(step, metrics)) << std::flush;
    MOELLE_REQUIRE("log", out_.good(), str("line must be written; got path=", path_, " step=", step));
  }

 private:
  static constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 32;
  static constexpr const char* kNameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";

  static std::string number(double v) {
    char text[32];
    const auto end = std::to_chars(text, text + sizeof text, v, std::chars_format::general, 17).ptr;
    return {text, end};
  }
  static std::string json_line(std::int64_t step, const Metrics& metrics) {
    std::string line = str("{\"step\":", step);
    for (const auto& [name, value] : metrics) line += ",\"" + name + "\":" + (std::isfinite(value) ? number(value) : "null");
    return line + "}\n";
  }
  std::string table_line(std::int64_t step, const Metrics& metrics) {
    std::string names = "step", line = str(step);
    for (const auto& [name, value] : metrics) {
      names += "," + name;
      line += "," + number(value);
    }
    MOELLE_REQUIRE("log", header_.empty() || header_ == names, str("columns must stay the same; got ", names, " for a table of ", header_));
    const bool first = std::exchange(header_, names).empty();
    return (first ? names + "\n" : "") + line + "\n";
  }

  // The step that a line is of; -1 if it is none: the head of a table, or damaged.
  std::int64_t step_of(std::string_view line) const {
    const std::string_view start = csv_ ? "" : "{\"step\":";
    std::int64_t step = -1;
    if (line.starts_with(start)) std::from_chars(line.data() + start.size(), line.data() + line.size(), step);
    return step;
  }
  std::string lines_before(const std::string& text, std::int64_t resume_step) const {
    std::string kept;
    for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
      const std::string_view line = std::string_view(text).substr(at, end + 1 - at);
      const std::int64_t step = step_of(line);
      const bool head = csv_ && at == 0 && line.starts_with("step");
      if (head || (step >= 0 && step < resume_step)) kept += line;
    }
    return kept;
  }

  std::string path_, header_;
  bool csv_;
  std::ofstream out_;
};

}  // namespace moelle::training

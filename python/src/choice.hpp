// Enumerations that Python writes as words.
#pragma once
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include <moelle/io/suggest.hpp>
#include <moelle/moe/balance.hpp>
#include <moelle/training/muon.hpp>
#include <moelle/training/optimizer.hpp>
#include <moelle/training/schedule.hpp>

namespace moelle::python {

// The value that goes by a name; an unknown name is an error with the nearest one.
template <class E>
E choice(const char* key, const std::string& value, std::initializer_list<std::pair<const char*, E>> values) {
  std::vector<std::string> names;
  std::string all;
  for (const auto& [name, e] : values) {
    if (value == name) return e;
    names.emplace_back(name);
    all += (all.empty() ? "" : ", ") + names.back();
  }
  moelle::detail::fail("training", str(key, " must be one of ", all, "; got ", key, "=", io::in_quotes(value)) + io::did_you_mean(value, names));
}

inline training::Method method_of(const std::string& name) {
  return choice<training::Method>("optimizer", name, {{"adamw", training::Method::adamw}, {"muon", training::Method::muon}});
}
inline training::MuonSteps muon_steps_of(const std::string& name) {
  return choice<training::MuonSteps>("muon_steps", name, {{"deepseek_v4", training::MuonSteps::deepseek_v4}, {"jordan", training::MuonSteps::jordan}});
}
inline training::ScheduleKind schedule_of(const std::string& name) {
  using K = training::ScheduleKind;
  return choice<K>("schedule", name, {{"constant", K::constant}, {"cosine", K::cosine}, {"wsd", K::wsd}, {"deepseek_v3", K::deepseek_v3}});
}

inline moe::BiasRule bias_rule_of(const std::string& name) {
  return choice<moe::BiasRule>("bias_rule", name, {{"sign", moe::BiasRule::sign}, {"proportional", moe::BiasRule::proportional}});
}

}  // namespace moelle::python

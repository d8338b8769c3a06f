// moelle/models.hpp -- configurations, and the language model built from one.
#pragma once
#include <moelle/models/causal_lm.hpp>
#include <moelle/models/config.hpp>
#include <moelle/models/config_json.hpp>
#include <moelle/models/presets.hpp>

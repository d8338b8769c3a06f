// moelle/estimate.hpp -- parameters, FLOPs, memory, hours and money of a configuration.
#pragma once
#include <moelle/estimate/model.hpp>
#include <moelle/estimate/training_cost.hpp>

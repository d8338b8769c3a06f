// moelle/nn.hpp -- modules.
#pragma once
#include <moelle/nn/attention.hpp>
#include <moelle/nn/init.hpp>
#include <moelle/nn/layers.hpp>
#include <moelle/nn/mla.hpp>
#include <moelle/nn/module.hpp>
#include <moelle/nn/moe.hpp>
#include <moelle/nn/multi_head_attention.hpp>
#include <moelle/nn/rotary.hpp>

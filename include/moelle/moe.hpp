// moelle/moe.hpp -- mixture of experts: gate, permutation, experts, balance.
#pragma once
#include <moelle/moe/balance.hpp>
#include <moelle/moe/balance_op.hpp>
#include <moelle/moe/experts_op.hpp>
#include <moelle/moe/gate_op.hpp>
#include <moelle/moe/packed_experts_op.hpp>
#include <moelle/moe/permute_op.hpp>

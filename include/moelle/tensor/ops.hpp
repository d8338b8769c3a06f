// moelle/tensor/ops.hpp -- gathers the operations on tensors that know of no model.
#pragma once
#include <moelle/tensor/cast_op.hpp>         // cast<U>, round_to_bf16
#include <moelle/tensor/compare_op.hpp>      // eq ... ge, logical_*, isnan, isfinite, where, masked_fill
#include <moelle/tensor/elementwise_op.hpp>  // add sub mul div neg maximum minimum, + - * /
#include <moelle/tensor/inplace_op.hpp>      // fill_ zero_ copy_ add_ mul_
#include <moelle/tensor/join_op.hpp>         // concat, split
#include <moelle/tensor/math_op.hpp>         // exp log sqrt rsqrt tanh pow abs sign clamp
#include <moelle/tensor/reduce_op.hpp>       // sum, mean, max, min, argmax, argmin, any, all
#include <moelle/tensor/view_op.hpp>         // reshape, transpose, permute, slice, narrow, expand, contiguous, clone ...

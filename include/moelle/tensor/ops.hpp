// moelle/tensor/ops.hpp -- gathers the operations on tensors that know of no model.
#pragma once
#include <moelle/tensor/cast_op.hpp>         // cast<U>, round_to_bf16
#include <moelle/tensor/elementwise_op.hpp>  // add sub mul div ...
#include <moelle/tensor/join_op.hpp>         // concat, split
#include <moelle/tensor/reduce_op.hpp>       // sum, mean, max, min, argmax, argmin, any, all
#include <moelle/tensor/view_op.hpp>         // reshape, transpose, permute, slice, narrow, contiguous, clone

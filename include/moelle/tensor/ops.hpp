// moelle/tensor/ops.hpp -- gathers the operations on tensors that know of no model.
#pragma once
#include <moelle/tensor/cast_op.hpp>         // cast<U>, round_to_bf16
#include <moelle/tensor/compare_op.hpp>      // eq ne lt le gt ge, logical_and/or/not, isnan, isfinite, where, masked_fill
#include <moelle/tensor/elementwise_op.hpp>  // add sub mul div neg maximum minimum, + - * /
#include <moelle/tensor/index_op.hpp>        // gather scatter_add index_select index_add take_rows index_copy_
#include <moelle/tensor/inplace_op.hpp>      // fill_ zero_ copy_ add_ mul_
#include <moelle/tensor/join_op.hpp>         // concat stack split chunk
#include <moelle/tensor/math_op.hpp>         // exp log sqrt rsqrt tanh pow abs sign clamp
#include <moelle/tensor/print_op.hpp>        // to_string, <<
#include <moelle/tensor/random_op.hpp>       // rand randn randint truncated_normal
#include <moelle/tensor/reduce_op.hpp>       // sum mean max min argmax argmin any all
#include <moelle/tensor/select_op.hpp>       // nonzero masked_select one_hot bincount
#include <moelle/tensor/sort_op.hpp>         // sort argsort topk cumsum
#include <moelle/tensor/view_op.hpp>         // reshape flatten permute transpose slice select expand contiguous clone ...

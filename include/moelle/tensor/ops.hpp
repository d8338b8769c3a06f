// moelle/tensor/ops.hpp -- gathers the operations on tensors that know of no model.
#pragma once
#include <moelle/tensor/view_op.hpp>
#include <moelle/tensor/elementwise_op.hpp>
#include <moelle/tensor/join_op.hpp>

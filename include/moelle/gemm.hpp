// moelle/gemm.hpp -- everything of this domain that users call.
#pragma once
#include <moelle/gemm/grouped_op.hpp>  // grouped_linear
#include <moelle/gemm/linear_op.hpp>   // linear
#include <moelle/gemm/matmul_op.hpp>   // matmul
#include <moelle/gemm/packed_op.hpp>    // pack, linear and grouped_linear with packed weights: bf16, fp8, int8, int4
#include <moelle/gemm/products.hpp>    // gemm, gemm_serial, batched, grouped, grouped_grad: pointers and sizes

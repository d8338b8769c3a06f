// moelle/activation.hpp -- everything of this domain that users call.
#pragma once
#include <moelle/activation/swiglu_op.hpp>  // swiglu, swiglu_packed
#include <moelle/activation/unary_op.hpp>   // sigmoid, silu, softplus, gelu, relu

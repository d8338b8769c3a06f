// moelle/norm.hpp -- everything of this domain that users call.
#pragma once
#include <moelle/norm/rms_norm_op.hpp>  // rms_norm, add_rms_norm
#include <moelle/norm/softmax_op.hpp>   // softmax, log_softmax

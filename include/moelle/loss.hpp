// moelle/loss.hpp -- everything of this domain that users call.
#pragma once
#include <moelle/loss/cross_entropy_op.hpp>         // cross_entropy, token_log_probs
#include <moelle/loss/linear_cross_entropy_op.hpp>  // linear_cross_entropy, linear_token_log_probs

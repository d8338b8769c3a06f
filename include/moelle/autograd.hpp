// moelle/autograd.hpp -- everything of this domain that users call.
#pragma once
#include <moelle/autograd/backward.hpp>    // backward
#include <moelle/autograd/checkpoint.hpp>  // checkpoint, checkpoint_all
#include <moelle/autograd/gradcheck.hpp>   // gradcheck, gradcheck1
#include <moelle/autograd/mode.hpp>        // NoGrad, EnableGrad, is_enabled
#include <moelle/autograd/record.hpp>      // record, Saved, wants_grad

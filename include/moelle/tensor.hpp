// moelle/tensor.hpp -- everything of this domain that users call.
#pragma once
#include <moelle/tensor/ops.hpp>

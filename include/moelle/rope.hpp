// moelle/rope.hpp -- everything of this domain that users call.
#pragma once
#include <moelle/rope/rope_op.hpp>  // RopeParams, frequencies, make_tables, rope

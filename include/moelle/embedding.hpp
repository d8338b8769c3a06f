// moelle/embedding.hpp -- everything of this domain that users call.
#pragma once
#include <moelle/embedding/embedding_op.hpp>  // embedding

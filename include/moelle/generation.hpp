// moelle/generation.hpp -- sampling and the decoding loop.
#pragma once
#include <moelle/generation/generate.hpp>
#include <moelle/generation/sampling.hpp>

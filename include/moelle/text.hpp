// moelle/text.hpp -- tokenisers.
#pragma once
#include <moelle/text/bytes.hpp>

#include <moelle/moelle.hpp>

#include "../use.hpp"

double from_other_unit() { return use_moelle(); }

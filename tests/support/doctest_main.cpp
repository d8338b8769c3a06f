// tests/support/doctest_main.cpp -- the one main() of all C++ tests.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

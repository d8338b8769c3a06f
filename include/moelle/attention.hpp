// moelle/attention.hpp -- attention, latent attention and their caches.
#pragma once
#include <moelle/attention/attention_op.hpp>
#include <moelle/attention/cache.hpp>
#include <moelle/attention/mla_op.hpp>

// moelle/training.hpp -- data, optimisers, schedules, the trainer.
#pragma once
#include <moelle/training/corpus.hpp>
#include <moelle/training/loader.hpp>
#include <moelle/training/optimizer.hpp>
#include <moelle/training/schedule.hpp>
#include <moelle/training/trainer.hpp>

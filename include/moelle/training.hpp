// moelle/training.hpp -- data, optimisers, schedules, the trainer, its checkpoints and logs.
#pragma once
#include <moelle/training/checkpoint_json.hpp>
#include <moelle/training/corpus.hpp>
#include <moelle/training/loader.hpp>
#include <moelle/training/log.hpp>
#include <moelle/training/optimizer.hpp>
#include <moelle/training/schedule.hpp>
#include <moelle/training/trainer.hpp>

// moelle/io.hpp -- files: safetensors, model directories, training checkpoints.
#pragma once
#include <moelle/io/checkpoint.hpp>
#include <moelle/io/checksum.hpp>
#include <moelle/io/file.hpp>
#include <moelle/io/json.hpp>
#include <moelle/io/pretrained.hpp>
#include <moelle/io/safetensors.hpp>
#include <moelle/io/suggest.hpp>
#include <moelle/io/tensor_file.hpp>
#include <moelle/io/utf8.hpp>

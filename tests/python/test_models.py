"""Configurations, models, generation, estimates, files."""
import json

import moelle
import numpy as np
import pytest
from moelle import estimate, models
from test_nn import TINY


@pytest.fixture(scope="module")
def model():
    return models.CausalLM(models.Config.from_json(TINY), seed=1)


def test_a_configuration_is_read_from_path_folder_dict_and_text_alike(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    configs = [models.Config.from_json(s) for s in (TINY, json.dumps(TINY), str(tmp_path / "config.json"), tmp_path / "config.json", tmp_path)]
    assert all(c == configs[0] for c in configs)
    assert configs[0].hidden_size == 16 and configs[0].q_lora_rank is None and models.Config.from_json(configs[0].to_dict()) == configs[0]


def test_unknown_keys_and_impossible_values_are_refused_with_the_nearest_name():
    with pytest.raises(moelle.Error, match="hidden_sise.*hidden_size"):
        models.Config.from_json({**TINY, "hidden_sise": 3}, unknown="refuse")
    models.Config.from_json({**TINY, "architectures": ["x"], "something_of_another_library": 1})
    with pytest.raises(moelle.Error, match="num_experts_per_tok"):
        models.Config.from_json({**TINY, "num_experts_per_tok": 9})
    with pytest.raises(moelle.Error, match="hidden_size"):
        models.Config.from_json({**TINY, "hidden_size": "wide"})
    with pytest.raises(AttributeError, match="hiden_size.*hidden_size"):
        models.Config.from_json(TINY).hiden_size
    with pytest.raises(moelle.Error, match="deepseek-v3"):
        models.Config.preset("deepseek-v33")
    with pytest.raises(FileNotFoundError):
        models.Config.from_json("no/such/config.json")


def test_replace_and_the_dense_twin_leave_the_original_alone():
    c = models.Config.from_json(TINY)
    d = c.replace(num_hidden_layers=4)
    assert (c.num_hidden_layers, d.num_hidden_layers) == (2, 4)
    assert c.is_moe() and not c.dense_twin().is_moe()


def test_logits_do_not_depend_on_how_ids_are_given(model):
    ids = [[1, 2, 3, 4]]
    want = model(ids).numpy()
    for same in (np.array(ids), np.array(ids, np.int32), np.array(ids, np.uint8), moelle.tensor(ids), moelle.tensor(ids).int()):
        assert np.array_equal(model(same).numpy(), want)
    with pytest.raises(TypeError, match="whole numbers"):
        model([[1.0]])
    with pytest.raises(moelle.Error, match="ids.*32 bits"):
        model([[1 << 40]])
    with pytest.raises(moelle.Error, match=r"\[B, T\]"):
        model([1, 2])
    with pytest.raises(moelle.Error, match="99"):
        model([[99]])


def test_the_loss_is_the_mean_next_token_cross_entropy_in_all_its_spellings(model):
    ids = moelle.randint(0, 32, (3, 7), seed=2)
    logits = model(ids).double()
    want = moelle.functional.cross_entropy(logits[:, :-1].reshape(-1, 32), ids[:, 1:].reshape(-1)).item()
    assert model.loss(ids).item() == pytest.approx(want, rel=1e-5)
    assert model.loss(ids, labels=ids).item() == model.loss(ids, ids).item() == model.loss(ids).item()
    assert model.loss(ids[:, :-1], targets=ids[:, 1:]).item() == pytest.approx(want, rel=1e-5)
    labels = ids.clone()
    labels[:, 3:] = -100
    short = moelle.functional.cross_entropy(logits[:, :2].reshape(-1, 32), ids[:, 1:3].reshape(-1)).item()
    assert model.loss(ids, labels).item() == pytest.approx(short, rel=1e-5)
    with pytest.raises(moelle.Error, match="labels and targets"):
        model.loss(ids, ids, targets=ids)


def test_generation_is_decided_by_the_seed_and_equal_with_and_without_cache(model):
    ids = [[1, 2, 3], [4, 5, 6]]
    a = model.generate(ids, max_new_tokens=8, temperature=0)
    assert a.shape == (2, 11) and a[:, :3].tolist() == ids
    assert model.generate(ids, max_new_tokens=8, temperature=0, use_cache=False).tolist() == a.tolist()
    b = model.generate(ids, max_new_tokens=8, seed=1, top_k=5)
    assert b.tolist() == model.generate(ids, max_new_tokens=8, seed=1, top_k=5).tolist() != model.generate(ids, max_new_tokens=8, seed=2, top_k=5).tolist()
    seen = []
    model.generate(ids, max_new_tokens=8, temperature=0, on_token=lambda step, tokens: (seen.append(list(tokens)), len(seen) < 3)[1])
    assert np.array(seen).T.tolist() == a[:, 3:6].tolist()
    with pytest.raises(moelle.Error, match="max_position_embeddings"):
        model.generate(ids, max_new_tokens=1000)
    with pytest.raises(RuntimeError, match="stop"):
        model.generate(ids, on_token=lambda *_: (_ for _ in ()).throw(RuntimeError("stop")), max_new_tokens=4)
    assert model.training


def test_decoding_with_a_cache_continues_what_it_holds(model):
    ids = moelle.randint(0, 32, (1, 9), seed=4)
    with moelle.no_grad():
        whole = model(ids)
        cache = model.make_cache(1, 16)
        parts = [model(ids[:, i : i + 3], cache=cache) for i in (0, 3, 6)]
    assert cache.length() == 9 and cache.bytes() > 0
    np.testing.assert_allclose(moelle.cat(parts, dim=1).numpy(), whole.numpy(), rtol=1e-4, atol=1e-5)


def test_gradients_come_by_the_names_of_the_state_dict(model):
    model.zero_grad()
    model.loss([[1, 2, 3, 4]]).backward()
    grads, state = model.grad_dict(), model.state_dict()
    assert set(grads) <= set(state)
    name = "model.layers.1.mlp.experts.0.gate_proj.weight"
    assert grads[name].shape == state[name].shape == (8, 16)


def test_models_are_saved_and_read_back_to_the_bit(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = models.CausalLM.from_pretrained(tmp_path)
    assert again.config == model.config and np.array_equal(again([[1, 2]]).numpy(), model([[1, 2]]).numpy())


def test_safetensors_files_round_trip_every_dtype(tmp_path):
    tensors = {d: moelle.arange(6).reshape(2, 3).to(d) for d in ("float32", "float64", "bfloat16", "int32", "int64", "uint8", "bool")}
    moelle.io.save_file({**tensors, "array": np.ones(2, np.float32)}, tmp_path / "x.safetensors", {"a": "b"})
    read = moelle.io.load_file(tmp_path / "x.safetensors")
    assert {n: (t.dtype, t.tolist()) for n, t in read.items() if n != "array"} == {n: (t.dtype, t.tolist()) for n, t in tensors.items()}
    assert moelle.io.load_metadata(tmp_path / "x.safetensors") == {"a": "b"}
    (tmp_path / "x.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(moelle.Error):
        moelle.io.load_file(tmp_path / "x.safetensors")
    with pytest.raises((moelle.Error, OSError)):
        moelle.io.load_file(tmp_path / "none")


def test_estimates_reproduce_the_published_numbers():
    e = estimate.model("deepseek-v3", context=4096)
    assert round(e.total_params / 1e9, 3) == 671.026 and round(e.active_params / 1e9, 3) == 37.552 and e.cache_bytes_per_token == 70272
    assert round(e.train_flops_per_token / 1e9, 1) == 250.5
    cost = estimate.training_cost(estimate.published_run("deepseek-v3"))
    assert round(cost.hours / 1e3) == 2788 and round(cost.dollars / 1e6, 3) == 5.576
    assert round(100 * estimate.saving(estimate.published_run("deepseek-v2"), estimate.published_run("deepseek-67b")), 2) == 42.51
    assert estimate.model(models.Config.from_json(TINY)).total_params == sum(t.numel() for t in models.CausalLM(models.Config.from_json(TINY)).state_dict().values())
    assert set(e.to_dict()) >= {"total_params", "active_params", "train_flops_per_token", "cache_bytes_per_token", "parts"}


def test_training_resumes_to_the_same_bits(tmp_path):
    corpus_dir = tmp_path / "text"
    corpus_dir.mkdir()
    for i in range(8):
        (corpus_dir / f"{i}.txt").write_text(f"document {i}: " + "".join(chr(97 + (i * j) % 26) for j in range(600)))
    corpus = moelle.data.load_corpus(corpus_dir, min_validation_bytes=100)
    assert corpus.files == 8 and corpus.train_bytes > corpus.validation_bytes > 100

    def trainer(seed):
        m = models.CausalLM(models.Config.from_json({**TINY, "vocab_size": 256}), seed=seed)
        return m, moelle.training.Trainer(m, lr=1e-2, steps=6, warmup_steps=1), moelle.data.ByteLoader(corpus.train, batch_size=2, seq_len=16, seed=1)

    def run(t, loader, steps):
        return [t.step(t.next_batches(loader)) for _ in range(steps)]

    whole, t, loader = trainer(1)
    reports = run(t, loader, 6)
    assert reports[0].tokens == 32 and all(r.skipped == "" for r in reports) and len(reports[0].load) == 1
    first, t, loader = trainer(1)
    assert t.load(tmp_path / "run") is None
    run(t, loader, 3)
    t.save(tmp_path / "run", '{"mine": 1}')
    second, t, loader = trainer(7)
    assert json.loads(t.load(tmp_path / "run")) == {"mine": 1} and t.steps_done == 3 and t.tokens_seen == 96
    run(t, loader, 3)
    for name, value in whole.state_dict().items():
        assert np.array_equal(value.numpy(), second.state_dict()[name].numpy()), name
    assert moelle.training.evaluate(second, corpus.validation, batch_size=2, seq_len=16) < 6


def test_a_trainer_refuses_unknown_names_with_the_nearest():
    m = models.CausalLM(models.Config.from_json(TINY))
    with pytest.raises(moelle.Error, match="cosine"):
        moelle.training.Trainer(m, steps=2, schedule="cosin")
    with pytest.raises(moelle.Error, match="optimizer must be one of adamw, muon"):
        moelle.training.Trainer(m, steps=2, optimizer="sgd")
    with pytest.raises(TypeError):
        moelle.training.Trainer(m, steps=2, learning_rate=1)

"""Text from files and from memory as batches."""
import moelle
import numpy as np
import pytest
from moelle import data


def test_texts_from_memory_give_the_batches_of_files(tmp_path):
    texts = [f"# {i}\n" + "value = 1\n" * (50 + i) for i in range(20)]
    for i, text in enumerate(texts):
        (tmp_path / f"{i}.py").write_text(text)
    corpus = data.load_corpus(tmp_path, min_validation_bytes=1)
    from_files = [corpus.train.bytes(i) for i in range(len(corpus.train))]
    documents = data.Documents([t.decode() if i % 2 else t for i, t in enumerate(from_files)])  # str and bytes
    assert list(documents) == from_files
    a, b = (data.ByteLoader(d, batch_size=2, seq_len=16, seed=3).batch(5) for d in (corpus.train, documents))
    assert np.array_equal(a.ids.numpy(), b.ids.numpy()) and np.array_equal(a.targets.numpy(), b.targets.numpy())


def test_targets_are_the_next_bytes_and_segments_the_documents():
    batch = data.ByteLoader(data.Documents(["abc", "de"]), batch_size=1, seq_len=6, shuffle=False, segments=True).batch(0)
    assert bytes(batch.ids.numpy()[0].astype(np.uint8)) == b"abc\0de"
    assert bytes(batch.targets.numpy()[0].astype(np.uint8)) == b"bc\0de\0"
    assert batch.segments.tolist() == [[0, 0, 0, 0, 1, 1]]


def test_too_little_text_is_refused_with_its_size():
    with pytest.raises(moelle.Error, match="bytes=4 batch_size=2 seq_len=8"):
        data.ByteLoader(data.Documents(["abc"]), batch_size=2, seq_len=8)
    with pytest.raises(moelle.Error, match="path=/no/such"):
        data.load_corpus("/no/such")

"""Data sets: what is standardised, what is read from which file, and what every error says."""

import gzip
import pathlib
import pickle
import struct

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from eosmodel.objectives import data
from eosmodel.objectives.data.images import FASHION

SYSTEM = pathlib.Path("/usr/share/datasets/fashion-mnist")


def test_standardised_per_feature_over_the_samples_taken():
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 7.0, (40, 2, 3))
    x[:25, 0, 1] = 0.1  # constant among the first 25 only; its mean is not exactly 0.1
    d = data.from_arrays(x, rng.normal(size=40), samples=25)
    varying = np.ones((2, 3), bool)
    varying[0, 1] = False
    assert d.x.shape == (25, 2, 3)
    assert d.x.dtype == np.float64
    np.testing.assert_allclose(d.x.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(d.x.std(axis=0)[varying], 1, rtol=1e-13)
    assert (d.x[:, 0, 1] == 0).all()
    np.testing.assert_allclose(d.x[:, 1, 2], (x[:25, 1, 2] - x[:25, 1, 2].mean()) / x[:25, 1, 2].std())


def test_targets():
    labels = data.from_arrays(np.zeros((4, 1)), np.array([0, 2, 1, 1], np.uint8), samples=2)
    assert labels.classes == 3  # over all labels given, not only those of the samples taken
    assert labels.labels is None
    np.testing.assert_array_equal(labels.y, np.eye(3)[[0, 2]])
    flat = data.from_arrays(np.arange(3), np.array([0.5, 1.0, -2.0], np.float32))
    assert flat.classes is None
    assert flat.x.shape == (3, 1)
    np.testing.assert_array_equal(flat.y, [[0.5], [1.0], [-2.0]])
    assert data.from_arrays(np.arange(3), np.ones((3, 2))).y.shape == (3, 2)


X, Y = np.arange(12.0).reshape(6, 2), np.arange(6) % 3
BAD_X, BAD_Y = X.copy(), Y.astype(float)
BAD_X[2, 1], BAD_X[4, 0], BAD_Y[3] = np.nan, np.inf, np.nan


@pytest.mark.parametrize(
    ("x", "y", "samples", "message"),
    [
        (X, Y[:5], None, r"x and y must have the same length, got 6 and 5"),
        (BAD_X, Y, None, r"x must be finite, got 2 NaN or infinite values, the first at \(2, 1\)"),
        (X, BAD_Y, None, r"y must be finite, got 1 NaN or infinite values, the first at \(3, 0\)"),
        (X, np.stack([Y, Y], axis=1), None, r"integer y must have shape \(samples,\) or be one-hot rows, got \(6, 2\)"),
        (X, np.full(6, 7), None, r"all labels in y are 7: there is nothing to tell apart"),
        (X, np.ones((6, 1, 1)), None, r"float y must have shape"),
        (X, Y, 0, r"samples must lie in \[1, 6\] \(6 are available\), got 0"),
        (X, Y, 7, r"samples must lie in \[1, 6\] \(6 are available\), got 7"),
        (X, Y, 2.5, r"samples must be an integer, 'all' or None, got 2.5"),
        (X, [1j] * 6, None, r"y must hold real numbers or strings, got dtype complex128"),
        (X * 1j, Y, None, r"x must hold real numbers, got dtype complex128"),
        (X[:0], Y[:0], None, r"x must hold at least one sample and one feature, got shape \(0, 2\)"),
    ],
)
def test_from_arrays_errors(x, y, samples, message):
    with pytest.raises(ValueError, match="arrays: " + message) as error:
        data.from_arrays(x, y, samples=samples)
    assert "\n" not in str(error.value)


FORMS = {
    "from one": np.array([1, 2, 3, 1, 2, 3]),
    "far apart": np.array([0, 255, 10**9] * 2),
    "signs": np.array([-1, 0, 1] * 2),
    "column": np.array([[0], [1], [2]] * 2),
    "strings": np.array(["ape", "bee", "cat"] * 2),
    "one-hot floats": np.eye(3)[[0, 1, 2] * 2],
    "one-hot integers": np.eye(3, dtype=int)[[0, 1, 2] * 2],
    "one-hot booleans": np.eye(3, dtype=bool)[[0, 1, 2] * 2],
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_in_every_form_are_the_same_three_classes(form):
    made = data.from_arrays(X, FORMS[form])
    assert made.classes == 3
    np.testing.assert_array_equal(made.y, np.eye(3)[[0, 1, 2] * 2])
    names = {"from one": (1, 2, 3), "far apart": (0, 255, 10**9), "signs": (-1, 0, 1), "strings": ("ape", "bee", "cat")}
    assert made.labels == names.get(form)


@hypothesis.given(labels=st.lists(st.integers(-(2**62), 2**62) | st.booleans(), min_size=2, max_size=30))
def test_labels_are_numbered_in_ascending_order(labels):
    y = np.array(labels, dtype=np.int64)
    classes = len(set(y.tolist()))
    if classes == 1 or classes > max(10, len(y) // 2):
        with pytest.raises(ValueError, match=r"nothing to tell apart|pass y as floats"):
            data.from_arrays(np.arange(len(y)), y)
    else:
        made = data.from_arrays(np.arange(len(y)), y)
        assert made.y.shape == (len(y), classes)
        np.testing.assert_array_equal(np.array(made.labels or range(classes))[made.y.argmax(1)], y)


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1.0, 1e170, 1e300])
def test_features_of_any_size_are_standardised_alike(size):
    x = np.random.default_rng(0).normal(size=(20, 2))
    np.testing.assert_allclose(
        data.from_arrays(x * [1, size], np.arange(20.0)).x, data.from_arrays(x, np.arange(20.0)).x
    )


def test_images_with_channels_first_are_those_with_channels_last():
    x = np.random.default_rng(0).normal(size=(6, 5, 7, 3))
    first = data.from_arrays(np.moveaxis(x, 3, 1), Y)
    np.testing.assert_array_equal(first.x, data.from_arrays(x, Y).x)
    assert data.from_arrays(x[..., :1], Y).x.shape == (6, 5, 7, 1)


def test_up_to_so_many_samples():
    few, many = (data.from_arrays(np.arange(n), np.arange(float(n)), samples="up-to-1000") for n in (120, 1200))
    assert (len(few.x), len(many.x)) == (120, 1000)
    assert len(data.from_arrays(np.arange(1200), np.arange(1200.0), samples="all").x) == 1200
    assert len(data.sorting("up-to-1000").x) == 1000


def test_a_column_of_strings_is_labels_and_ragged_lists_are_named():
    words = np.array(["cat", "dog", "cat", "dog", "dog", "cat"], dtype=object)  # as pandas keeps them
    assert data.from_arrays(X, words).labels == ("cat", "dog")
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(kind=words)
    np.testing.assert_array_equal(data.from_arrays(frame[["a", "b"]], frame["kind"]).x, data.from_arrays(X, words).x)
    with pytest.raises(ValueError, match=r"pair: x is not an array \(.*inhomogeneous"):
        data.from_arrays([[1.0], [1.0, 2.0]], [0, 1], name="pair")


def test_repr_is_one_line():
    assert repr(data.from_arrays(X, Y)) == "Data('arrays', 6 samples, x (2,), y (3,), 3 classes)"


def test_a_bad_value_after_the_samples_taken_does_no_harm():
    assert len(data.from_arrays(BAD_X, Y, samples=2).x) == 2


def test_data_checks_its_shapes():
    with pytest.raises(ValueError, match=r"as many samples, got \(3, 1\) and \(2, 1\)"):
        data.Data("mine", np.ones((3, 1)), np.ones((2, 1)), None)


def test_digits():
    from sklearn.datasets import load_digits

    d = data.digits(30)
    raw = load_digits().images[:30]
    assert (d.name, d.x.shape, d.y.shape, d.classes) == ("digits", (30, 8, 8, 1), (30, 10), 10)
    np.testing.assert_array_equal(d.y.argmax(axis=1), load_digits().target[:30])
    np.testing.assert_allclose(d.x[:, 3, 4, 0], (raw[:, 3, 4] - raw[:, 3, 4].mean()) / raw[:, 3, 4].std(), atol=1e-12)
    assert len(data.digits().x) == 1797
    with pytest.raises(ValueError, match=r"digits: samples must lie in \[1, 1797\]"):
        data.digits(1798)


def write_idx(folder, x, y, magics=(0x803, 0x801), cut=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name, magic, array in zip(FASHION, magics, (x, y), strict=True):
        raw = struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()
        (folder / name).write_bytes(gzip.compress(raw[:cut]))


@pytest.fixture
def fashion():
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (7, 28, 28), dtype=np.uint8), np.array([0, 4, 2, 2, 1, 3, 9], np.uint8)


@pytest.mark.parametrize("below", ["", "fashion-mnist"])
def test_fashion_mnist_from_the_users_folder(tmp_path, monkeypatch, fashion, below):
    x, y = fashion
    write_idx(tmp_path / below, x, y)
    monkeypatch.setenv("EOSMODEL_DATA", str(tmp_path))
    for d in (data.fashion_mnist(5), data.fashion_mnist(5, path=tmp_path), data.load("fashion-mnist", 5)):
        assert (d.x.shape, d.classes) == ((5, 28, 28, 1), 10)
        np.testing.assert_array_equal(d.y, np.eye(10)[y[:5]])
        pixel = x[:5, 3, 9].astype(float)
        np.testing.assert_allclose(d.x[:, 3, 9, 0], (pixel - pixel.mean()) / pixel.std())
    assert len(data.fashion_mnist(None).x) == 7
    with pytest.raises(ValueError, match=r"fashion-mnist: samples must lie in \[1, 7\]"):
        data.fashion_mnist(8)


def test_fashion_mnist_damaged_files(tmp_path, fashion):
    x, y = fashion
    write_idx(tmp_path / "magic", x, y, magics=(0x801, 0x801))
    write_idx(tmp_path / "short", x, y, cut=200)
    write_idx(tmp_path / "head", x, y, cut=3)
    write_idx(tmp_path / "pair", x, y[:4])
    write_idx(tmp_path / "label", x, y + 7)
    write_idx(tmp_path / "plain", x, y)
    (tmp_path / "plain" / FASHION[0]).write_bytes(b"no gzip")
    write_idx(tmp_path / "body", x, y)
    body = bytearray((tmp_path / "body" / FASHION[0]).read_bytes())
    body[12:40] = b"\xff" * 28
    (tmp_path / "body" / FASHION[0]).write_bytes(body)
    for case in ("magic", "short", "head", "plain", "body"):
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is damaged \(.*\): not a gzipped idx file"):
            data.fashion_mnist(6, path=tmp_path / case)
    with pytest.raises(ValueError, match="7 images and 4 labels"):
        data.fashion_mnist(None, path=tmp_path / "pair")
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 9\], got 16"):
        data.fashion_mnist(None, path=tmp_path / "label")


def test_missing_files_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv("EOSMODEL_DATA", raising=False)
    # An explicit path is never swapped for the system's copy.
    with pytest.raises(FileNotFoundError, match=r"Debian package dataset-fashion-mnist.*EOSMODEL_DATA"):
        data.fashion_mnist(path=tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"cifar10: no data_batch_1.bin or data_batch_1 in no folder \(EOSMODEL_DATA is not set"
    ):
        data.cifar10()
    monkeypatch.setenv("EOSMODEL_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}.*binary version"):
        data.cifar10()


@pytest.mark.skipif(not SYSTEM.is_dir(), reason=f"Debian's dataset-fashion-mnist is not installed in {SYSTEM}")
def test_fashion_mnist_of_the_system(monkeypatch, tmp_path):
    monkeypatch.setenv("EOSMODEL_DATA", str(tmp_path))  # a folder without it is passed over
    d = data.fashion_mnist(100)
    assert (d.x.shape, d.y.shape) == ((100, 28, 28, 1), (100, 10))
    assert d.y[:5].argmax(axis=1).tolist() == [9, 0, 0, 3, 0]  # ankle boot, top, top, dress, top


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_cifar10(tmp_path, monkeypatch, below):
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    labels = np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    for k, part in ((1, slice(0, 4)), (2, slice(4, 7))):
        planes = images[part].transpose(0, 3, 1, 2).reshape(-1, 3072)
        records = np.concatenate([labels[part, None], planes], axis=1)
        (folder / f"data_batch_{k}.bin").write_bytes(records.tobytes())
    monkeypatch.setenv("EOSMODEL_DATA", str(tmp_path))
    for d, n in ((data.cifar10(6), 6), (data.cifar10(None, path=tmp_path), 7), (data.load("cifar10", 3), 3)):
        assert (d.x.shape, d.classes) == ((n, 32, 32, 3), 10)
        np.testing.assert_array_equal(d.y.argmax(axis=1), labels[:n])
        pixel = images[:n, 5, 17, 2].astype(float)
        np.testing.assert_allclose(d.x[:, 5, 17, 2], (pixel - pixel.mean()) / pixel.std())
    with pytest.raises(ValueError, match=r"cifar10: samples must lie in \[1, 7\]"):
        data.cifar10()
    (folder / "data_batch_3.bin").write_bytes(b"xyz")
    with pytest.raises(ValueError, match=r"data_batch_3.bin is damaged: its size is not a multiple of 3073"):
        data.cifar10(6)


def test_npz_round_trip(tmp_path):
    file = tmp_path / "mine.npz"
    np.savez(file, x=X, y=Y)
    loaded, direct = data.load(str(file), samples=5), data.from_arrays(X, Y, samples=5)
    assert (loaded.name, loaded.classes) == ("mine", 3)
    np.testing.assert_array_equal(loaded.x, direct.x)
    np.testing.assert_array_equal(loaded.y, direct.y)
    assert len(data.load(file).x) == 6


def test_npz_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.npz"):
        data.load(tmp_path / "none.npz")
    np.savez(tmp_path / "keys.npz", x=X, z=Y)
    with pytest.raises(ValueError, match="must hold the keys x and y, lacks y; keys: x, z"):
        data.from_npz(tmp_path / "keys.npz")
    np.savez(tmp_path / "object.npz", x=np.array([{}, []], dtype=object), y=Y)
    np.save(tmp_path / "array.npy", X)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").write_text("")
    for name in ("object", "array", "text", "empty"):
        with pytest.raises(ValueError, match=rf"{name}.npz is not an .npz file of plain arrays \(") as error:
            data.from_npz(tmp_path / f"{name}.npz")
        assert "\n" not in str(error.value)


def test_load_names_what_it_knows():
    assert data.load("digits", 10).name == "digits"
    for unknown in ("mnist", "numbers.csv"):
        with pytest.raises(ValueError, match=f"unknown data set '{unknown}'; known are digits, fashion-mnist, cifar10"):
            data.load(unknown)
    assert all(callable(function) and "\n" not in text for function, text in data.DATASETS.values())


def write_cifar(folder, images, labels, files, form, coarse=False):
    """CIFAR's files: records of labels and planes, or pickles of tables of them, as Python 2 wrote them."""
    folder.mkdir(exist_ok=True)
    parts = np.array_split(np.arange(len(labels)), len(files))
    for file, part in zip(files, parts, strict=True):
        planes = images[part].transpose(0, 3, 1, 2).reshape(len(part), -1)
        if form == "binary":
            head = [np.full((len(part), 1), 7, np.uint8)] if coarse else []
            (folder / file).write_bytes(np.concatenate([*head, labels[part, None], planes], axis=1).tobytes())
        else:
            table = {
                b"data": planes,
                b"fine_labels" if coarse else b"labels": labels[part].tolist(),
                b"batch_label": b"batch",
            }
            (folder / file).write_bytes(pickle.dumps(table, protocol=2))


@pytest.mark.parametrize("form", ["binary", "python"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_in_both_forms_with_its_test_set(tmp_path, monkeypatch, name, form):
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    labels = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5], np.uint8) + (90 if name == "cifar100" else 0)
    suffix = ".bin" if form == "binary" else ""
    train, test = (["data_batch_1", "data_batch_2"], "test_batch") if name == "cifar10" else (["train"], "test")
    below = {"cifar10": ("cifar-10-batches-bin", "cifar-10-batches-py")}.get(
        name, ("cifar-100-binary", "cifar-100-python")
    )
    folder = tmp_path / below[form == "python"]
    coarse = name == "cifar100"
    write_cifar(folder, images[:6], labels[:6], [file + suffix for file in train], form, coarse)
    write_cifar(folder, images[6:], labels[6:], [test + suffix], form, coarse)
    monkeypatch.setenv("EOSMODEL_DATA", str(tmp_path))
    d = data.load(name, 5, test_samples=2)
    classes = 100 if coarse else 10
    assert (d.x.shape, d.y.shape, d.test.x.shape) == ((5, 32, 32, 3), (5, classes), (2, 32, 32, 3))
    np.testing.assert_array_equal(d.y.argmax(1), labels[:5])
    np.testing.assert_array_equal(d.test.y.argmax(1), labels[6:8])
    pixel = images[:, 5, 17, 2].astype(float)
    expected = (pixel - pixel[:5].mean()) / pixel[:5].std()
    np.testing.assert_allclose(d.x[:, 5, 17, 2], expected[:5])
    np.testing.assert_allclose(d.test.x[:, 5, 17, 2], expected[6:8])
    with pytest.raises(ValueError, match=r"test_samples must lie in \[0, 3\], got 4"):
        data.load(name, 5, test_samples=4)


class Exploit:
    """Runs when it is unpickled, by a reader that would run it."""

    def __reduce__(self):
        return pathlib.Path("ran").write_text, ("it",)


@pytest.mark.parametrize(
    "content", [Exploit(), {b"data": Exploit()}, {b"data": np.zeros((2, 4), np.uint8)}, b"text", None]
)
def test_a_pickle_that_is_no_batch_runs_nothing(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    raw = b"not pickled" if content is None else pickle.dumps(content, protocol=2)
    (tmp_path / "data_batch_1").write_bytes(raw)
    with pytest.raises(ValueError, match=r"cifar10: .*data_batch_1 is damaged, or no batch of images"):
        data.cifar10(path=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_house_numbers_from_files_of_matlab(tmp_path):
    from scipy.io import savemat

    images = np.random.default_rng(4).integers(0, 256, (32, 32, 3, 6), dtype=np.uint8)
    labels = np.array([1, 10, 3, 10, 9, 2])
    savemat(tmp_path / "train_32x32.mat", {"X": images, "y": labels[:, None].astype(np.uint8)})
    d = data.svhn(4, path=tmp_path, test_samples=2)
    np.testing.assert_array_equal(d.y.argmax(1), [1, 0, 3, 0])
    np.testing.assert_array_equal(d.test.y.argmax(1), [9, 2])  # without a test set those that follow
    pixel = images[8, 30, 1].astype(float)
    np.testing.assert_allclose(d.x[:, 8, 30, 1], (pixel[:4] - pixel[:4].mean()) / pixel[:4].std())
    (tmp_path / "train_32x32.mat").write_bytes(b"no file of MATLAB")
    with pytest.raises(ValueError, match=r"svhn: .*train_32x32.mat is damaged"):
        data.svhn(path=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"svhn: no train_32x32.mat in .*cropped digits"):
        data.svhn(path=tmp_path / "elsewhere")


def test_a_seed_chooses_samples_and_more_of_the_same_seed_include_the_fewer():
    x = np.arange(60.0)
    some, more, other = (data.from_arrays(x, x, samples=n, subset_seed=s) for n, s in ((20, 1), (30, 1), (20, 2)))
    assert len(set(some.y[:, 0])) == 20
    np.testing.assert_array_equal(more.y[:20], some.y)
    assert not np.array_equal(some.y, other.y)
    rest = data.from_arrays(x, x, subset_seed=1, test_samples=15)
    assert sorted([*rest.y[:, 0], *rest.test.y[:, 0]]) == x.tolist()
    np.testing.assert_array_equal(rest.y[:20], some.y)
    with pytest.raises(ValueError, match=r"arrays: test_samples must lie in \[0, 59\], got 60"):
        data.from_arrays(x, x, test_samples=60)
    with pytest.raises(ValueError, match=r"samples must lie in \[1, 50\]"):
        data.from_arrays(x, x, samples=51, test_samples=10)
    with pytest.raises(ValueError, match="classes are those of labels"):
        data.from_arrays(x, x, classes=(0, 1))


def test_classes_by_label_or_text_and_held_out_samples_of_them():
    two = data.digits(40, classes="3,8", subset_seed=5, test_samples=30)
    assert (two.classes, two.labels, two.y.shape, two.test.y.shape) == (2, (3, 8), (40, 2), (30, 2))
    same = data.digits(40, classes=(8, 3), subset_seed=5)
    np.testing.assert_array_equal(two.x, same.x)
    assert two.sha256 != same.sha256
    from sklearn.datasets import load_digits

    bunch = load_digits()
    raw = np.random.default_rng(5).permutation(np.flatnonzero(np.isin(bunch.target, [3, 8])))
    np.testing.assert_array_equal(np.array([3, 8])[two.y.argmax(1)], bunch.target[raw[:40]])
    np.testing.assert_array_equal(np.array([3, 8])[two.test.y.argmax(1)], bunch.target[raw[40:70]])
    words = data.from_arrays(np.arange(9.0), ["ape", "bee", "cat"] * 3, classes="cat,ape")
    assert words.labels == ("ape", "cat")
    for classes, message in (
        ("3,11", "classes must be among 0, 1, .*, 9, got 11"),
        ((3,), "classes must name at least two classes, got 3"),
    ):
        with pytest.raises(ValueError, match=f"digits: {message}"):
            data.digits(classes=classes)


@pytest.mark.parametrize("make", [data.sorting, data.markov])
def test_generated_samples_are_drawn_by_the_seed_and_those_held_out_follow(make):
    whole, part = make(12), make(8, test_samples=4)
    np.testing.assert_array_equal(np.concatenate([part.x, part.test.x]), whole.x)
    np.testing.assert_array_equal(np.concatenate([part.y, part.test.y]), whole.y)
    assert not np.array_equal(make(8, subset_seed=3).x, part.x)
    with pytest.raises(ValueError, match="its samples are of no class"):
        make(8, classes=(0, 1))

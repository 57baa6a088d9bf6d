"""Networks that learned from photographs: their pictures, and weights from Keras's files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clips import music
from genrescope.audio import Waveform
from genrescope.errors import RecipeError

torch = pytest.importorskip("torch")

from genrescope.encoders import encoder_class  # noqa: E402
from genrescope.encoders._imagenet import Pictures, keras_application  # noqa: E402
from genrescope.encoders.weights import WeightsError, read_arrays  # noqa: E402

# Name, its module in keras.applications, and a side at which a pass takes no time.
KERAS = [
    ("vgg16", "vgg16", 32),
    ("inception_v3", "inception_v3", 75),
    ("xception", "xception", 71),
]
ALL = [*KERAS, ("mobilenet_v2", "mobilenet_v2", 64)]


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def _small(name: str, side: int, **settings: Any) -> Pictures:
    """The encoder with another size of picture."""
    kind = encoder_class(name)
    encoder = type("Small", (kind,), {"side": side})(**settings)
    encoder.cache = None
    return encoder


def _pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 40, 30, generator=torch.Generator().manual_seed(seed))


def _randomise(model: Any) -> None:
    """Give all of a model's numbers values as trained networks have them."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        values = [np.asarray(value) for value in layer.get_weights()]
        if type(layer).__name__ == "BatchNormalization":
            values = [random.uniform(0.5, 1.5, value.shape) for value in values]
        layer.set_weights([1.3 * value for value in values])


def test_layers_are_as_declared() -> None:
    """The network's own size; that of the others takes seconds."""
    encoder = encoder_class("mobilenet_v2")(weights_seed=0)
    encoder.cache = None
    embedding = encoder.embed(Waveform(music(15), 22050))
    assert embedding.values.shape == (2, 1280)
    np.testing.assert_allclose(embedding.starts, [0, 4.96], atol=0.01)
    image = encoder.embed(Waveform(music(15), 22050), layer="none").values
    assert image.shape == (2, 224 * 224)
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize(("name", "_module", "side"), ALL)
def test_seed_and_sizes(keras: Any, name: str, _module: str, side: int) -> None:
    encoder = _small(name, side, weights_seed=0)
    with torch.no_grad():
        found = encoder.network()(_pictures(2))
        again = _small(name, side, weights_seed=0).network()(_pictures(2))
        other = _small(name, side, weights_seed=1).network()(_pictures(2))
    assert found["none"].shape == (2, side * side)
    assert found["immediate"].shape == (2, encoder.layers["immediate"])
    assert encoder.layers["none"] == encoder_class(name).side ** 2  # type: ignore[attr-defined]
    assert torch.equal(found["immediate"], again["immediate"])
    assert not torch.equal(found["immediate"], other["immediate"])


def test_picture_is_stretched() -> None:
    """A picture that brightens evenly from left to right still does."""
    encoder = _small("mobilenet_v2", 64, weights_seed=0)
    rising = torch.linspace(0, 1, 30).expand(1, 40, 30)
    image = encoder.network()(rising)["none"].view(64, 64)
    assert torch.allclose(image, image[:1].expand(64, 64))
    assert (image[0].diff() >= 0).all()
    assert image[0, 0] == 0
    assert image[0, -1] == 1


@pytest.mark.parametrize(("name", "module", "side"), ALL)
def test_levels_are_those_of_keras(keras: Any, name: str, module: str, side: int) -> None:
    sight = _small(name, side, weights_seed=0).network()
    seen = []
    sight.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        grey = sight(_pictures(1))["none"].view(side, side)
    colours = np.repeat(255 * grey.numpy()[None, :, :, None], 3, axis=3)
    wanted = getattr(keras.applications, module).preprocess_input(colours)
    np.testing.assert_allclose(seen[0].permute(0, 2, 3, 1), wanted, atol=1e-4)


@pytest.mark.parametrize(("name", "_module", "side"), ALL)
def test_export(keras: Any, name: str, _module: str, side: int) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = _small(name, side, weights_seed=0).network()
    if name != "mobilenet_v2":
        _randomise(network.backbone.model)
    file = io.BytesIO()
    torch.onnx.export(
        network,
        (_pictures(1),),
        file,
        dynamo=False,
        opset_version=17,
        input_names=["segments"],
        output_names=["none", "immediate"],
        dynamic_axes={"segments": {0: "n"}},
    )
    session = onnxruntime.InferenceSession(file.getvalue())
    pictures = _pictures(3, seed=1)
    found = session.run(None, {"segments": pictures.numpy()})
    with torch.no_grad():
        wanted = network(pictures)
    for values, layer in zip(found, ("none", "immediate"), strict=True):
        largest = wanted[layer].abs().max().item()
        assert largest > 1e-4
        np.testing.assert_allclose(values, wanted[layer], atol=1e-4 * largest)


@pytest.mark.parametrize(("name", "_module", "side"), ALL)
def test_training_reaches_every_weight(keras: Any, name: str, _module: str, side: int) -> None:
    network = _small(name, side, weights_seed=0).network().train()
    trained = [values for values in network.parameters() if values.requires_grad]
    before = [values.detach().clone() for values in trained]
    optimizer = torch.optim.Adam(trained, 1e-3)
    network(_pictures(2))["immediate"].square().sum().backward()
    optimizer.step()
    changed = [not torch.equal(*pair) for pair in zip(trained, before, strict=True)]
    # Dead rectifiers may leave a few of them be.
    assert sum(changed) > 0.9 * len(changed)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_weights_of_keras(keras: Any, tmp_path: Path, suffix: str) -> None:
    """Both of Keras's formats, and the older one that the published files have."""
    model = keras_application("VGG16", 32)
    _randomise(model)
    path = tmp_path / f"mine{suffix}"
    if suffix == ".weights.h5":
        model.save_weights(path)
    elif suffix == ".keras":
        model.save(path)
    else:
        h5py = pytest.importorskip("h5py")
        model.save(tmp_path / "whole.h5")
        with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(path, "w") as weights:
            for part in whole["model_weights"]:
                whole.copy(f"model_weights/{part}", weights)
            for attribute, value in whole["model_weights"].attrs.items():
                weights.attrs[attribute] = value
    # Its own weights are known by their hash; another file stands in for one without.
    kind = type("Mine", (encoder_class("vgg16"),), {"side": 32, "weights": (_unknown(),)})
    network = kind(path).network()
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        wanted = model(pictures.permute(0, 2, 3, 1))
        np.testing.assert_allclose(network.backbone(pictures), wanted, rtol=1e-5)


def _unknown() -> Any:
    from genrescope.encoders import Weights

    return Weights("mine.h5", "", "", 0, "", "")


def test_mobilenet_is_that_of_keras(keras: Any, tmp_path: Path) -> None:
    model = keras_application("MobileNetV2", 224)
    _randomise(model)
    model.save_weights(tmp_path / "mine.weights.h5")
    network = encoder_class("mobilenet_v2")(tmp_path / "mine.weights.h5").network()
    pictures = torch.rand(2, 3, 224, 224) * 2 - 1
    with torch.no_grad():
        wanted = np.asarray(model(pictures.permute(0, 2, 3, 1)))
        found = network.backbone(pictures).numpy()
    assert wanted.std() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_other_weights_are_refused(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "not.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\nno")
    for name in ("inception_v3", "mobilenet_v2"):
        with pytest.raises(WeightsError, match=r"not\.h5: not weights for"):
            encoder_class(name)(path).network()
    # What is in the cache has to be what was published, known by SHA-256 or else by MD5.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GENRESCOPE_OFFLINE", "1")
    folder = tmp_path / "genrescope" / "weights"
    folder.mkdir(parents=True)
    for name, reason in (("vgg16", "SHA-256"), ("xception", "MD5")):
        kind = encoder_class(name)
        with pytest.raises(WeightsError, match="not here"):
            kind().network()
        (folder / kind.weights[0].file).write_bytes(b"another")
        with pytest.raises(WeightsError, match=f"not the published.*{reason}"):
            kind().network()


def test_other_backends_are_refused(keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RecipeError, match="Keras runs on jax here: set KERAS_BACKEND=torch"):
        encoder_class("xception")(weights_seed=0).network()


@pytest.mark.shared
def test_real_weights_know_photographs(shared: Path) -> None:
    """What is on photographs that come with matplotlib and scikit-learn."""
    matplotlib, sklearn = pytest.importorskip("matplotlib"), pytest.importorskip("sklearn")
    samples = Path(matplotlib.get_data_path()) / "sample_data"
    images = Path(sklearn.__file__).parent / "datasets" / "images"
    photographs = {
        samples / "grace_hopper.jpg": "military uniform",
        images / "china.jpg": "palace",
        images / "flower.jpg": "daisy",
    }
    folder = shared / "weights/mobilenet-v2-imagenet"
    path = folder / "mobilenet_v2_imagenet_dequant_fp16.npz"
    names = (folder / "imagenet_labels.txt").read_text().splitlines()
    network = encoder_class("mobilenet_v2")(path).network()
    arrays = read_arrays(path)
    weight, bias = (arrays[f"classifier.1.{part}"].astype("f4") for part in ("weight", "bias"))
    for file, wanted in photographs.items():
        with Image.open(file) as image:
            levels = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
        picture = torch.from_numpy(levels / np.float32(127.5) - 1).permute(2, 0, 1)[None]
        with torch.no_grad():
            logits = network.backbone(picture).numpy() @ weight.T + bias
        assert names[logits.argmax()] == wanted

"""Inception-V3 against torchvision and pytorch-fid, on random weights: no download."""

import jax
import numpy as np
import pytest

from genjax.metrics.inception import from_state, half_pixel_bilinear, inception, shapes
from genjax.nets.inception import paper_inception
from tests.parity import let_torchvision_in, need
from tests.test_inception import random_state

torch = need("torch")
let_torchvision_in()


@pytest.fixture(scope="module")
def state():
    return random_state()


def tensors(state):
    return {name: torch.from_numpy(array) for name, array in state.items()}


def channels_first(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def images(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def test_features_are_those_of_pytorch_fid(state, tmp_path, monkeypatch):
    reference = need("pytorch_fid.inception")
    monkeypatch.setattr(reference, "load_state_dict_from_url", lambda url, progress: tensors(state))
    net, x = reference.InceptionV3().eval(), images(2, 40, 52, 3)
    with torch.no_grad():
        expected = net(channels_first(x))[0].numpy().reshape(2, 2048)
    torch.save(tensors(state), tmp_path / "weights.pth")
    assert expected.std() > 0.1  # of the features, so that an agreement means something
    np.testing.assert_allclose(inception(tmp_path / "weights.pth").apply(x), expected, rtol=1e-4, atol=1e-4)


def test_the_papers_layout_is_torchvisions(state):
    net = need("torchvision.models.inception").Inception3(1008, aux_logits=False, init_weights=False)
    assert {name: tuple(a.shape) for name, a in net.state_dict().items() if a.ndim} == shapes()
    net.load_state_dict(tensors(state), strict=False)
    net.fc, x = torch.nn.Identity(), 2 * images(2, 111, 92, 3) - 1
    with torch.no_grad():
        expected = net.eval()(channels_first(x)).numpy()
    features = jax.jit(paper_inception().apply)(from_state(state, "random"), x)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sides", [(8, 8), (28, 33), (299, 299), (512, 301)])
def test_resizing_is_torchs(sides):
    x = images(1, *sides, 3)
    expected = torch.nn.functional.interpolate(channels_first(x), (299, 299), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(half_pixel_bilinear(x), np.moveaxis(expected.numpy(), 1, -1), atol=3e-5)

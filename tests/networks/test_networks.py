# Licensed under a 3-clause BSD style license - see LICENSE
"""
The hole is exact; the likelihood and the posterior are what they claim to be.
"""

import numpy as np
import pytest
import torch
from models import make_tiny_denoiser

from astropy_n2v import NoiseModel
from astropy_n2v.inference.blind_prediction import BlindPredictor
from astropy_n2v.inference.normalization import Normalization, NormalizedImage
from astropy_n2v.networks import (
    BlindSpotUNet,
    blind_moments,
    blindspot,
    expected_photon_variance,
    negative_log_likelihood,
    network_inputs,
    posterior_moments,
)

HOLES = [(1, 1), (3, 3), (5, 5), (1, 3), (5, 1)]


@pytest.mark.parametrize('hole', HOLES)
@pytest.mark.parametrize('shape', [(48, 48), (32, 80)])
@pytest.mark.parametrize('pixel', [(20, 23), (0, 0), (31, 5), (7, 31)])
def test_gradient_is_zero_in_the_hole_and_nowhere_near_it(hole, shape, pixel):
    torch.manual_seed(1)
    network = BlindSpotUNet(widths=(6, 8, 8), decoder_widths=(6, 8), head_width=16, hole=hole).double()
    torch.nn.init.normal_(network.head[-1].weight)
    x = torch.randn(1, 4, *shape, dtype=torch.double, requires_grad=True)
    network(x)[0, :, pixel[0], pixel[1]].abs().sum().backward()
    gradient = x.grad.abs().sum(dim=(0, 1)).numpy()
    rows, columns = np.indices(shape)
    hidden = (abs(rows - pixel[0]) <= hole[0] // 2) & (abs(columns - pixel[1]) <= hole[1] // 2)
    around = (abs(rows - pixel[0]) <= hole[0] // 2 + 1) & (abs(columns - pixel[1]) <= hole[1] // 2 + 1) & ~hidden
    assert np.all(gradient[hidden] == 0)
    assert np.all(gradient[around] > 0)


@pytest.mark.parametrize('hole', HOLES)
@pytest.mark.parametrize('pixel', [(30, 41), (0, 0), (49, 66), (0, 30), (21, 20)])
def test_whole_prediction_does_not_see_its_own_pixel(hole, pixel, rng):
    denoiser = make_tiny_denoiser(hole)
    data = rng.normal(100, 5, (50, 67))
    valid = np.ones(data.shape, dtype=bool)
    valid[20, 20] = valid[22:26, 19:21] = False
    image = NormalizedImage(data, valid, NoiseModel(5.0), Normalization(100.0, 5.0))
    predictor = BlindPredictor(denoiser.network, denoiser.margin, tile_size=512, device=torch.device('cpu'),
                               dtype=torch.float32)

    def predict(values):
        return predictor.predict(image.observed(values))

    changed = data.copy()
    changed[pixel] += 300
    difference = np.abs(np.subtract(predict(changed), predict(data))).max(axis=0)
    rows, columns = np.indices(data.shape)
    hidden = (abs(rows - pixel[0]) <= hole[0] // 2) & (abs(columns - pixel[1]) <= hole[1] // 2)
    around = (abs(rows - pixel[0]) <= hole[0] // 2 + 1) & (abs(columns - pixel[1]) <= hole[1] // 2 + 1) & ~hidden
    assert np.all(difference[hidden] == 0)
    assert np.all(difference[around] > 0)


def test_masked_pixel_is_not_seen_at_all(rng):
    denoiser = make_tiny_denoiser()
    data = rng.normal(0, 1, (40, 40))
    mask = np.zeros(data.shape, dtype=bool)
    mask[11, 17] = True
    results = []
    for value in (0.0, 1e30, np.nan, -np.inf):
        data[11, 17] = value
        results.append(denoiser.predict(data, NoiseModel(1.0), mask, calibrate=False).blind_mean)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_receptive_radius_bounds_what_is_seen():
    torch.manual_seed(0)
    network = BlindSpotUNet(widths=(4, 4, 4), decoder_widths=(4, 4), head_width=8).double()
    torch.nn.init.normal_(network.head[-1].weight)
    x = torch.randn(1, 4, 128, 128, dtype=torch.double, requires_grad=True)
    network(x)[0, 0, 63, 66].backward()
    seen = np.argwhere(x.grad.abs().sum(dim=(0, 1)).numpy() > 0) - (63, 66)
    assert np.abs(seen).max() <= network.receptive_radius < 2 * np.abs(seen).max()


def test_network_has_no_normalisation_over_the_image():
    names = {type(module).__name__ for module in BlindSpotUNet().modules()}
    assert not any('Norm' in name for name in names)


def test_input_that_is_not_aligned_is_an_error():
    with pytest.raises(ValueError, match='multiples of 16'):
        BlindSpotUNet()(torch.zeros(1, 4, 20, 32))
    with pytest.raises(ValueError, match='decoder_widths'):
        BlindSpotUNet(widths=(4, 8), decoder_widths=(4, 4))


def test_inputs_are_zero_where_not_valid():
    z = torch.full((1, 1, 4, 4), torch.nan)
    inputs = network_inputs(z, torch.zeros_like(z), *(torch.ones(()) for _ in range(3)))
    assert torch.all(inputs == 0)


def test_blind_moments_span_decades():
    a = torch.tensor([-12.0, 0.0, 1e-3, 12.0]).reshape(1, 1, 2, 2)
    mean, log_spread = blind_moments(torch.cat([a, torch.zeros_like(a)], dim=1))
    torch.testing.assert_close(mean, torch.sinh(a))
    torch.testing.assert_close(log_spread, torch.log(torch.cosh(a)))


def test_likelihood_is_minimal_at_the_truth():
    torch.manual_seed(0)
    mean, spread, sigma = 0.7, 0.5, 1.0
    z = mean + np.hypot(spread, sigma) * torch.randn(1, 1, 400, 400)
    weight = torch.ones_like(z)
    noise = [torch.tensor(value) for value in (sigma ** 2, 0.0, 0.0)]

    def loss(mean, spread):
        a = np.arcsinh(mean)
        c = np.log(spread / np.cosh(a))
        output = torch.tensor([a, c], dtype=torch.float32).reshape(1, 2, 1, 1).expand(1, 2, 400, 400)
        return float(negative_log_likelihood(output, z, weight, *noise)[1])

    best = loss(mean, spread)
    for other in [(mean + 0.1, spread), (mean - 0.1, spread), (mean, spread * 1.3), (mean, spread / 1.3)]:
        assert best < loss(*other)


@pytest.mark.parametrize('spread, ratio', [(0.05, 5.0), (1.0, 1.0)])
def test_gain_of_small_spreads(spread, ratio):
    """It raises the gradient of the spread alone, and no further than where the noise does not matter."""
    z = torch.randn(1, 1, 8, 8)
    noise = [torch.tensor(value) for value in (1.0, 0.0, 0.0)]
    gradients = []
    for gain in (12.0, 60.0):
        output = torch.tensor([0.3, np.log(spread)], dtype=torch.float32).reshape(1, 2, 1, 1).repeat(1, 1, 8, 8)
        output.requires_grad_()
        negative_log_likelihood(output, z, torch.ones_like(z), *noise, max_gain=gain)[0].backward()
        gradients.append(output.grad)
    torch.testing.assert_close(gradients[1][:, :1], gradients[0][:, :1])
    torch.testing.assert_close(gradients[1][:, 1:], ratio * gradients[0][:, 1:])


def test_focus_follows_the_error_of_the_posterior():
    """Compare the gradient by the mean with half that of the log of the posterior's error, in units of the noise."""
    torch.manual_seed(2)
    photons, sky, error = 3.0, torch.tensor([0.0, 40.0]).view(2, 1, 1, 1), torch.tensor([0.5, 2.0]).view(2, 1, 1, 1)
    # The noise that the prediction makes expected, and as wrong as it says.
    noise = 1 + expected_photon_variance(sky + error, error, photons, torch.tensor(0.0))
    z = sky + noise.sqrt() * torch.randn(2, 1, 500, 500)
    mean = (sky + error).requires_grad_()
    a = torch.asinh(mean).expand(z.shape)
    output = torch.cat([a, (error.log() - torch.log(torch.cosh(a))).detach()], dim=1)
    parameters = [torch.tensor(value) for value in (1.0, photons, 0.0)]
    negative_log_likelihood(output, z, torch.ones_like(z), *parameters, focus=True)[0].backward()
    share = error ** 2 / (error ** 2 + noise)
    offset = error.clone().requires_grad_()
    variance = ((1 - share) ** 2 * offset ** 2 + share ** 2 * noise) / noise
    # Each of the two images counts for half.
    (0.25 * torch.log(variance + 3e-3).sum()).backward()
    torch.testing.assert_close(mean.grad, offset.grad, rtol=0.03, atol=0)


@pytest.mark.parametrize('focus', [False, True])
def test_likelihood_ignores_pixels_of_no_weight(focus):
    output = torch.randn(1, 2, 8, 8, requires_grad=True)
    z = torch.randn(1, 1, 8, 8)
    weight = torch.ones_like(z)
    weight[..., 3, 3] = 0
    noise = [torch.tensor(value) for value in (1.0, 0.1, -2.0)]
    first = negative_log_likelihood(output, z, weight, *noise, focus=focus)[0]
    z[..., 3, 3] = torch.nan
    second = negative_log_likelihood(output, z, weight, *noise, focus=focus)[0]
    assert first == second
    second.backward()
    assert torch.isfinite(output.grad).all()
    assert torch.all(output.grad[..., 3, 3] == 0)


def _posterior(y, mean, spread, sigma, slope=0.0, zero=0.0):
    tensors = [torch.full((3, 3), float(value), dtype=torch.double) for value in (y, mean, spread)]
    valid = torch.ones(3, 3, dtype=torch.bool)
    noise = [torch.tensor(value, dtype=torch.double) for value in (sigma ** 2, slope, zero)]
    return [float(part[1, 1]) for part in posterior_moments(tensors[0], valid, *tensors[1:], *noise)]


def test_posterior_follows_bayes_rule():
    mean, variance, innovation, outlier, noise = _posterior(y=1.2, mean=1.0, spread=0.5, sigma=1.0)
    assert mean == pytest.approx((1.0 * 1 + 1.2 * 0.25) / 1.25, abs=1e-3)
    assert variance == pytest.approx(0.25 / 1.25, rel=0.01)
    assert innovation == pytest.approx(0.2 / np.sqrt(1.25))
    assert outlier < 1e-3
    assert noise == 1


@pytest.mark.parametrize('amplitude', [10, 30, 1e3, 1e5])
def test_posterior_keeps_what_cannot_be_foreseen(amplitude):
    mean, variance, *_ = _posterior(y=amplitude, mean=0.0, spread=0.1, sigma=1.0, slope=0.1)
    assert mean == pytest.approx(amplitude, rel=0.01)
    # As uncertain as the photons that it is made of.
    assert variance == pytest.approx(1 + 0.1 * amplitude, rel=0.2)


@pytest.mark.parametrize('depth', [10, 30, 1e3])
def test_posterior_keeps_dark_measurements(depth):
    mean, variance, *_ = _posterior(y=-depth, mean=0.0, spread=0.1, sigma=1.0)
    assert mean == pytest.approx(-depth, rel=0.01)
    assert variance == pytest.approx(1, rel=0.2)


def test_two_electrons_are_no_surprise_where_few_are_expected():
    *_, outlier, _ = _posterior(y=2.0, mean=0.05, spread=0.01, sigma=0.0, slope=1.0)
    assert outlier < 0.1


def test_noise_is_built_from_the_prediction_not_from_the_pixel():
    below, above = (_posterior(y=y, mean=10.0, spread=1.0, sigma=1.0, slope=1.0)[4] for y in (7.0, 13.0))
    assert below == above == 11.0


class TestPhotonNoise:
    """The noise is what is expected over the values that a pixel may have."""

    @pytest.mark.parametrize('mean, spread', [(9.0, 1.0), (1.0, 2.0), (0.0, 0.5), (-1.0, 1.0)])
    def test_is_the_expectation(self, mean, spread, rng):
        truth = rng.normal(mean, spread, 1_000_000)
        expected = 3 * np.maximum(truth + 0.2, 0).mean()
        variance = expected_photon_variance(*torch.tensor([mean, spread, 3.0, -0.2], dtype=torch.double))
        assert float(variance) == pytest.approx(expected, rel=0.01)

    @pytest.mark.parametrize('mean', [-1e6, -40.0, 1e6])
    @pytest.mark.parametrize('spread', [1e-6, 1.0, 1e6])
    @pytest.mark.parametrize('dtype', [torch.float, torch.double])
    def test_is_finite_and_not_negative(self, mean, spread, dtype):
        variance = expected_photon_variance(*torch.tensor([mean, spread, 1.0, 0.0], dtype=dtype))
        assert np.isfinite(float(variance)) and float(variance) >= 0

    def test_precision_may_differ(self):
        mean, spread = torch.tensor([0.1, 0.2, 9.0]), torch.ones(3, dtype=torch.double)
        expected = expected_photon_variance(mean.double(), spread, 1.0, 0.0)
        torch.testing.assert_close(expected_photon_variance(mean, spread, 1.0, 0.0).double(), expected)

    def test_no_photon_is_not_certainty(self):
        """Leave the truth uncertain after a negative blind mean and a measurement of zero."""
        _, variance, innovation, *_ = _posterior(y=0.0, mean=-0.3, spread=0.2, sigma=0.0, slope=1.0)
        assert variance > 0.01 ** 2 and abs(innovation) < 3


class TestPredict:
    """In strips and for a part it is what the network says of the whole."""

    @pytest.fixture
    def network(self):
        torch.manual_seed(3)
        network = BlindSpotUNet(widths=(4, 6, 8), decoder_widths=(5, 6), head_width=8)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return network.eval()

    @pytest.mark.parametrize('hole', [(1, 1), (3, 3), (1, 5)])
    @pytest.mark.parametrize('inner', [None, (slice(9, 50), slice(0, 33)), (slice(0, 64), slice(70, 96))])
    @pytest.mark.parametrize('strip', [96, 1000, 10 ** 6])
    def test_equals_forward(self, network, hole, inner, strip, monkeypatch):
        monkeypatch.setitem(blindspot._STRIP, 'cpu', strip)
        network.hole = hole
        x = torch.randn(1, 4, 64, 96, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            whole = network(x)
        y, x_part = inner or (slice(None), slice(None))
        torch.testing.assert_close(network.predict(x, inner), whole[:, :, y, x_part], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize('learns', [False, True])
    def test_upsampled_input_need_not_be_made(self, network, learns):
        """Convolve repeated pixels beside the pixels of the skip connection without repeating them."""
        layer = network.branch.decoder[0][0]
        coarse, skip = torch.randn(2, 8, 6, 10, requires_grad=learns), torch.randn(2, 6, 12, 20)
        repeated = torch.cat([coarse.repeat_interleave(2, 2).repeat_interleave(2, 3), skip], dim=1)
        with torch.set_grad_enabled(learns):
            result, expected = layer.forward_upsampled(coarse, skip), layer(repeated)
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
        if learns:
            inputs = coarse, layer.weight, layer.bias
            weight = torch.randn_like(result)
            torch.testing.assert_close(torch.autograd.grad((weight * result).sum(), inputs),
                                       torch.autograd.grad((weight * expected).sum(), inputs), rtol=1e-4, atol=1e-4)

    def test_the_same_with_gradients_as_without(self, network):
        """Without gradients layers work in place."""
        x = torch.randn(2, 4, 16, 24)
        with torch.no_grad():
            expected = network(x)
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)

    def test_other_sizes_are_an_error(self, network):
        with pytest.raises(ValueError, match=r'multiples of 4, got \(10, 12\)'):
            network.predict(torch.zeros(1, 4, 10, 12))

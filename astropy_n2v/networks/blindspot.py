# Licensed under a 3-clause BSD style license - see LICENSE
"""
The blind-spot U-Net: a network that cannot see the pixel it predicts.

Four branches share their weights. Each sees one half-plane of the image: a U-Net
whose convolutions reach only upwards, applied to the image turned by 0, 90, 180
and 270 degrees, its output moved away from the centre by ``(h + 1) / 2`` pixels.
The branches are joined by 1x1 convolutions, so that the output at a pixel depends
on everything within the receptive radius *except* the ``h x h`` hole around that
pixel (Laine et al. 2019, arXiv:1901.10277).
"""

import threading
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ['BlindSpotUNet', 'HalfPlaneConv2d', 'isolated_rng']

_RANDOM = threading.Lock()

# Least pixels of a strip, by type of device. On a CPU, memory for large activations would be returned to the system
# and requested again for every layer. In strips of less than 80,000 pixels the coarsest level is so small that torch
# uses another convolution algorithm, with different rounding errors.
_STRIP = {'cpu': 2 ** 17, 'cuda': 2 ** 22}
# Least rows of a strip for padding instead of a copy: shorter strips are copied with the row above on top.
_TALL = 48


@contextmanager
def isolated_rng(seed=0):
    """
    Make new networks with random numbers of torch that neither depend on others nor change them.

    Parameters
    ----------
    seed : int, optional
        Seed: equal seeds give equal numbers, in any thread.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.networks import isolated_rng
    >>> before = torch.get_rng_state()
    >>> with isolated_rng(1):
    ...     first = torch.rand(3)
    >>> with isolated_rng(1):
    ...     assert torch.equal(torch.rand(3), first)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    with _RANDOM, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _shift_down(x, rows):
    """Move ``x`` by ``rows`` rows to larger row indices; fill with zeros."""
    if rows == 0:
        return x
    return F.pad(x[..., :-rows, :], (0, 0, rows, 0))


class _RowAbove(dict):
    """
    The last input row of each layer in the strip above, for an image that is processed in strips.

    Layers extend one row up and never down, so that this row is all they need from the strips above: the strips
    together give exactly the result of the whole image.

    Parameters
    ----------
    kernels : dict
        Collects the kernels that layers compute from their weights: once for all strips.
    """

    def __init__(self, kernels):
        super().__init__()
        self.kernels = kernels

    def made(self, key, make, dtype):
        """Return weights that a layer computes, once, rounded to a type."""
        if key not in self.kernels:
            self.kernels[key] = [_rounded(weight, dtype) for weight in make()]
        return self.kernels[key]

    def keep(self, key, x):
        """Keep the last row of ``x`` for the next strip."""
        self[key] = x[:, :, -1:].clone()

    def join(self, key, x):
        """Put the row above on top of ``x``, and keep the last row of ``x`` for the next strip."""
        above = self.get(key)
        self.keep(key, x)
        return torch.cat([torch.zeros_like(x[:, :, :1]) if above is None else above, x], dim=2)


def _conv_up(x, weight, bias=None, above=None, key=None):
    """Convolve with a kernel of two rows: the output at row r depends on rows r - 1 and r."""
    if above is not None and x.shape[2] < _TALL:
        return F.conv2d(above.join(key, x), weight, bias, padding=(0, 1))
    # Padded below, too, and cut afterwards: this is faster than a copy of the input with a row above.
    y = F.conv2d(x, weight, bias, padding=1)[:, :, :-1]
    if above is not None and key in above:
        y[:, :, :1] = F.conv2d(above.join(key, x[:, :, :1]), weight, bias, padding=(0, 1))
    if above is not None:
        above.keep(key, x)
    return y


def _pool(x, above=None, key=None):
    """
    Average 2x2 pixels, the rows 2r - 1 and 2r for row r.

    A pooled row of rows 2r and 2r + 1 would look one row below itself after upsampling.
    """
    if above is None:
        return F.avg_pool2d(x, 2, padding=(1, 0))[:, :, :-1]
    return F.avg_pool2d(above.join(key, x), 2)


def _rounded(weight, dtype):
    """
    Round a kernel, or a bias, so that the response to a smooth image is kept.

    The smallest weight between two channels is adjusted by the sum of the rounding errors of the others. If weights
    were rounded independently, the error of their sum would not average out over the pixels of an image. Bright pixels
    would become fainter by 0.05 %, and by 0.5 % with the first block rounded, too; with the adjustment by less than
    0.01 %.
    """
    if dtype == weight.dtype or weight.ndim == 1:
        return weight.to(dtype)
    exact = weight.flatten(2)
    rounded = exact.to(dtype)
    # Zeros must stay zero.
    smallest = torch.where(exact == 0, torch.inf, exact.abs()).min(dim=2, keepdim=True).indices
    lost = (exact - rounded).sum(dim=2, keepdim=True)
    return rounded.scatter(2, smallest, (rounded.gather(2, smallest) + lost).to(dtype)).reshape(weight.shape)


class HalfPlaneConv2d(nn.Conv2d):
    """
    A convolution whose output at row ``r`` depends on rows ``r - 1`` and ``r`` only.

    Parameters
    ----------
    in_channels, out_channels : int
        Number of channels of the input and of the output.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.networks import HalfPlaneConv2d
    >>> image = torch.zeros(1, 1, 6, 5)
    >>> image[..., 3, 2] = 1
    >>> layer = HalfPlaneConv2d(1, 1)
    >>> changed = layer(image) != layer(torch.zeros_like(image))
    >>> changed.nonzero()[:, 2].unique()   # the row of the pixel, and the next
    tensor([3, 4])
    """

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels, kernel_size=(2, 3), padding=(0, 1))

    def forward(self, x, above=None):
        """
        Convolve images.

        Parameters
        ----------
        x : tensor
            Shape (n, in_channels, height, width).
        above : dict, optional
            The last rows of the strip above, for images that are processed in strips. By default
            the row above is zero.

        Returns
        -------
        tensor
            Shape (n, out_channels, height, width).
        """
        def parameters():
            return self.weight, self.bias
        made = parameters() if above is None else above.made(self, parameters, x.dtype)
        return _conv_up(x, *made, above, self)

    def forward_upsampled(self, coarse, skip, above=None):
        """
        Convolve upsampled images together with others, without joining them.

        Parameters
        ----------
        coarse : tensor
            Images that are upsampled by repeating pixels, shape (n, channels, height / 2, width / 2).
        skip : tensor
            Images of the full size, shape (n, in_channels - channels, height, width).
        above : dict, optional
            As for `forward`.

        Returns
        -------
        tensor
            Shape (n, out_channels, height, width).
        """
        def parameters():
            return self._upsampling_kernels(coarse.shape[1])
        key = self, 'upsampled'
        skipped, two_rows, one_row, bias = (
            parameters() if above is None else above.made(key, parameters, coarse.dtype))
        y = _conv_up(skip, skipped, bias, above, self)
        rows = (_interleave_columns(_conv_up(coarse, two_rows, None, above, key)),
                _interleave_columns(F.conv2d(coarse, one_row, padding=(0, 1))))
        if torch.is_grad_enabled():
            # The gradient of additions in place, row by row, is slower than this copy.
            return y + _interleave_rows(*rows)
        y[:, :, ::2] += rows[0]
        y[:, :, 1::2] += rows[1]
        return y

    def _upsampling_kernels(self, channels):
        """Return the kernel for the skipped input, the coarse kernels for even and for odd rows, and the bias."""
        upsampled, skipped = self.weight.split([channels, self.weight.shape[1] - channels], dim=1)
        # Where pixels are repeated, an even column combines one weight for the pixel to its left and two for its own;
        # an odd column two for its own and one for the pixel to its right. Even rows depend on two rows, odd ones on
        # one. A third of the products is with zero. Kernels of two columns would be faster by some per cent, but for
        # some widths oneDNN sums their products in another order, and tiles would differ from the whole image.
        left, middle, right = upsampled.unbind(dim=3)
        zero = torch.zeros_like(left)
        even, odd = torch.stack([left, middle + right, zero], dim=3), torch.stack([zero, left + middle, right], dim=3)
        kernel = torch.cat([even, odd])
        return skipped, kernel, kernel.sum(dim=2, keepdim=True), self.bias


def _interleave_columns(x):
    """Move the first half of the channels to the even columns, the second half to the odd ones."""
    n, channels, height, width = x.shape
    # With channels last no data are moved.
    return x.permute(0, 2, 3, 1).reshape(n, height, 2 * width, channels // 2).permute(0, 3, 1, 2)


def _interleave_rows(even, odd):
    """Interleave two images as the even and the odd rows of one image."""
    rows = torch.stack([even.permute(0, 2, 3, 1), odd.permute(0, 2, 3, 1)], dim=2)
    return rows.flatten(1, 2).permute(0, 3, 1, 2)


def _turned_rows(x, turn, start, stop):
    """Return the unrotated part of ``x``, shape (height, width, ...), that forms some of its rows after rotation."""
    height, width = x.shape[:2]
    return (x[start:stop], x[:, max(width - stop, 0):width - start],
            x[max(height - stop, 0):height - start], x[:, start:stop])[turn]


class _Activation(nn.LeakyReLU):
    """In place only without gradients: the gradient of a slice that was changed in place is slow."""

    def __init__(self):
        super().__init__(0.1)

    def forward(self, x):
        return F.leaky_relu(x, self.negative_slope, inplace=not torch.is_grad_enabled())


class _Block(nn.Sequential):
    """Two half-plane convolutions with activations."""

    def __init__(self, in_channels, out_channels):
        super().__init__(HalfPlaneConv2d(in_channels, out_channels), _Activation(),
                         HalfPlaneConv2d(out_channels, out_channels), _Activation())

    def forward(self, x, skip=None, above=None):
        first, activation, second, _ = self
        x = first(x, above) if skip is None else first.forward_upsampled(x, skip, above)
        return activation(second(activation(x), above))


class _Pointwise(nn.Conv2d):
    """A convolution with a single pixel, of images with channels last: a product of matrices."""

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, x):
        if torch.is_grad_enabled() or x.device.type != 'cpu':
            return F.linear(x, self.weight.flatten(1), self.bias)
        # On some processors MKL's product is slower than this. Rows are a batch of images, since torch would use that
        # product for a single image and a kernel of one pixel.
        rows = x.flatten(0, -3).unsqueeze(1).permute(0, 3, 1, 2)
        return super().forward(rows).permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_channels)


class _HalfPlaneUNet(nn.Module):
    """A U-Net whose output at row ``r`` depends on rows up to ``r`` only."""

    def __init__(self, in_channels, widths, decoder_widths):
        super().__init__()
        self.encoder = nn.ModuleList()
        channels = in_channels
        for width in widths:
            self.encoder.append(_Block(channels, width))
            channels = width
        self.decoder = nn.ModuleList()
        for skip, width in reversed(list(zip(widths[:-1], decoder_widths))):
            self.decoder.append(_Block(channels + skip, width))
            channels = width

    def forward(self, x, above=None, dtype=None):
        skips = []
        for block in self.encoder[:-1]:
            # The first block receives the data and needs float32.
            x = block(x, above=above).to(dtype=dtype)
            skips.append(x)
            x = _pool(x, above, block)
        x = self.encoder[-1](x, above=above)
        for block in self.decoder:
            x = block(x, skips.pop(), above)
        return x


class BlindSpotUNet(nn.Module):
    """
    Blind-spot U-Net with an exact hole.

    Parameters
    ----------
    in_channels : int, optional
        Number of input channels.
    out_channels : int, optional
        Number of output channels.
    widths : sequence of int, optional
        Channels of the encoder at each level, full resolution first. Each level
        halves the resolution.
    decoder_widths : sequence of int, optional
        Channels of the decoder at each level but the last of ``widths``.
    head_width : int, optional
        Channels of the 1x1 convolutions that join the four branches.
    hole : tuple of int, optional
        Height and width (odd) of the hole around a pixel, on which its output does not
        depend. The weights are independent of the hole.

    Notes
    -----
    Height and width of the input must be multiples of `alignment`. There is no
    normalisation over the batch or the image: a pixel would then influence its
    own prediction, and normalisation causes artefacts on flat sky.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.networks import BlindSpotUNet
    >>> network = BlindSpotUNet(widths=(4, 8), decoder_widths=(4,), hole=(3, 3))
    >>> network(torch.zeros(1, 4, 16, 24)).shape
    torch.Size([1, 2, 16, 24])
    """

    def __init__(self, in_channels=4, out_channels=2, *, widths=(12, 24, 48, 64, 64),
                 decoder_widths=(16, 32, 48, 64), head_width=64, hole=(1, 1)):
        super().__init__()
        if len(decoder_widths) != len(widths) - 1:
            raise ValueError(f'decoder_widths must have one entry fewer than widths, got {len(decoder_widths)} '
                             f'for {len(widths)} levels')
        self.config = {'in_channels': int(in_channels), 'out_channels': int(out_channels),
                       'widths': [int(n) for n in widths], 'decoder_widths': [int(n) for n in decoder_widths],
                       'head_width': int(head_width)}
        self.hole = tuple(hole)
        self.branch = _HalfPlaneUNet(in_channels, widths, decoder_widths)
        features = decoder_widths[0] if decoder_widths else widths[0]
        self.join = _Pointwise(4 * features, head_width)
        self.head = nn.Sequential(_Activation(), _Pointwise(head_width, head_width // 2), _Activation(),
                                  _Pointwise(head_width // 2, out_channels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1)
                nn.init.zeros_(module.bias)
        # The initial prediction is the background with the spread of the noise.
        nn.init.zeros_(self.head[-1].weight)

    @property
    def alignment(self):
        """Height and width of the input must be multiples of this number of pixels."""
        return 2 ** (len(self.config['widths']) - 1)

    @property
    def receptive_radius(self):
        """Largest distance in pixels, along an axis, at which an input can influence an output."""
        levels = len(self.config['widths'])
        # Two convolutions a block, one row each, at the scale of the level; encoder and
        # decoder, but only one block at the coarsest level; the shift before each pooling;
        # the half-cell that pooling and upsampling may add.
        convolutions = sum((4 if level < levels - 1 else 2) * 2 ** level for level in range(levels))
        return convolutions + 2 * (self.alignment - 1) + (max(self.hole) + 1) // 2

    def forward(self, x):
        """
        Predict from images.

        Parameters
        ----------
        x : tensor
            Shape (n, in_channels, height, width). Height and width are multiples of `alignment`.

        Returns
        -------
        tensor
            Shape (n, out_channels, height, width), float32.

        Raises
        ------
        ValueError
            If height or width is not a multiple of `alignment`.
        """
        self._check_shape(x)
        features = []
        # Quarter turns swap height and width, so that opposite directions are processed together.
        for turns, size in zip(((0, 2), (1, 3)), self.hole):
            pair = torch.cat([torch.rot90(x, turn, dims=(2, 3)) for turn in turns])
            pair = self.branch(pair.contiguous(memory_format=torch.channels_last))
            features.append(_shift_down(pair, (size + 1) // 2).chunk(2))
        return self._join(torch.cat([torch.rot90(features[turn % 2][turn // 2], -turn, dims=(2, 3))
                                     for turn in range(4)], dim=1).permute(0, 2, 3, 1))

    def _join(self, features):
        """Compute the output from the features of the four branches, shape (n, height, width, channels)."""
        joined = self.join(features)
        with torch.autocast(joined.device.type, enabled=False):
            joined = self.head(joined.to(self.join.weight.dtype))
        return joined.permute(0, 3, 1, 2)

    @torch.inference_mode()
    def predict(self, x, inner=None, dtype=None):
        """
        Predict large images of the same shape, in strips and without gradients.

        Parameters
        ----------
        x : tensor
            Shape (n, in_channels, height, width).
        inner : tuple of slice, optional
            The rows and columns of the output; by default all.
        dtype : `torch.dtype`, optional
            Type in which the branches are computed, except for their first block. ``torch.bfloat16`` is faster on
            processors that support it. Predictions change by about 0.3 % of the flux, or less, with both signs, so
            that the errors average out. By default the type of ``x``.

        Returns
        -------
        tensor
            Shape (n, out_channels, rows, columns) of the requested part.

        Raises
        ------
        ValueError
            If height or width are not multiples of `alignment`.

        Examples
        --------
        >>> import torch
        >>> from astropy_n2v.networks import BlindSpotUNet
        >>> network = BlindSpotUNet(widths=(4, 8), decoder_widths=(4,))
        >>> network.predict(torch.zeros(1, 4, 16, 24), (slice(4, 12), slice(0, 20))).shape
        torch.Size([1, 2, 8, 20])
        """
        self._check_shape(x)
        inner = inner or (slice(0, x.shape[2]), slice(0, x.shape[3]))
        rows, columns = (part.stop - part.start for part in inner)
        # The four branches side by side, channels last: the input of the join.
        features = x.new_empty((len(x), rows, columns, self.join.in_channels), dtype=dtype or x.dtype)
        kernels = {}
        for turn, part in enumerate(features.chunk(4, dim=3)):
            self._fill_features(part.permute(1, 2, 0, 3), x, turn, *inner, kernels)
        output = x.new_empty((len(x), self.config['out_channels'], rows, columns))
        for start, stop in self._strips(rows, 2 * columns * len(x), x.device):
            output[:, :, start:stop] = self._join(features[:, start:stop].to(x.dtype))
        return output

    def _fill_features(self, features, x, turn, inner_y, inner_x, kernels):
        """
        Compute one branch for the inner part, strip by strip; the last strips are not needed.

        ``features`` has the shape (rows, columns, n, channels).
        """
        height, width = x.shape[2:]
        bounds = (inner_y.start, inner_y.stop), (inner_x.start, inner_x.stop)
        for _ in range(turn):
            bounds = (width - bounds[1][1], width - bounds[1][0]), bounds[0]
            height, width = width, height
        (top, bottom), (left, right) = bounds
        turned = torch.rot90(x, turn, dims=(2, 3)).contiguous(memory_format=torch.channels_last)
        shift = (self.hole[turn % 2] + 1) // 2
        above = _RowAbove(kernels)
        # The first rows have no rows above.
        _turned_rows(features, turn, 0, max(shift - top, 0)).zero_()
        for start, stop in self._strips(height, width * len(x), x.device):
            if start + shift >= bottom:
                break
            strip = self.branch(turned[:, :, start:stop], above, features.dtype)
            # The shifted rows of the strip, within the inner part.
            first, last = max(start + shift, top), min(start + shift + strip.shape[2], bottom)
            if first < last:
                strip = strip[:, :, first - start - shift:last - start - shift, left:right].permute(2, 3, 0, 1)
                _turned_rows(features, turn, first - top, last - top).copy_(torch.rot90(strip, -turn, dims=(0, 1)))

    def _strips(self, height, width, device):
        """Return first and last rows of strips of about equal size."""
        height = -(-height // self.alignment)
        rows = _STRIP.get(device.type, _STRIP['cuda']) // (self.alignment * width) + 1
        count = max(1, height // rows)
        edges = [i * height // count * self.alignment for i in range(count + 1)]
        return zip(edges[:-1], edges[1:])

    def _check_shape(self, x):
        if x.shape[-1] % self.alignment or x.shape[-2] % self.alignment:
            raise ValueError(f'height and width must be multiples of {self.alignment}, got {tuple(x.shape[-2:])}')

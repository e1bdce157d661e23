# Licensed under a 3-clause BSD style license - see LICENSE
"""
A plain U-Net, which sees all pixels: for the classical strategies that hide pixels in the image instead.
"""

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ['UNet']

_UPSAMPLING = 'transposed', 'bilinear'


class _Block(nn.Sequential):
    """Two convolutions of 3x3 pixels with SiLU activations, after a normalisation over the batch if asked for."""

    def __init__(self, in_channels, out_channels, batch_norm):
        layers = []
        for channels in in_channels, out_channels:
            layers += [nn.Conv2d(channels, out_channels, 3, padding=1, padding_mode='replicate'),
                       *([nn.BatchNorm2d(out_channels)] if batch_norm else []), nn.SiLU()]
        super().__init__(*layers)


class _BlurPool(nn.Module):
    """Maximum of 2x2 pixels at each pixel, smoothed before every second one is taken (Zhang 2019, arXiv:1904.11486)."""

    def forward(self, x):
        kernel = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype, device=x.device)
        kernel = (kernel[:, None] * kernel / 16).expand(x.shape[1], 1, 3, 3)
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode='replicate'), 2, stride=1)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode='replicate'), kernel, stride=2, groups=x.shape[1])


class UNet(nn.Module):
    """
    Plain U-Net with SiLU activations.

    Parameters
    ----------
    in_channels, out_channels : int, optional
        Channels of the input and of the output.
    levels : int, optional
        Levels of resolution, each half of the one before.
    base : int, optional
        Channels at full resolution; twice as many at each further level.
    batch_norm : bool, optional
        Whether to normalise over the batch. Statistics of the batch follow its content, so that levels of the sky get
        into each other.
    upsampling : {'transposed', 'bilinear'}, optional
        By a transposed convolution, or by interpolation and a convolution.
    blur_pool, top_skip : bool, optional
        Whether to smooth before every second pixel is taken, and whether the encoder is connected to the decoder at
        full resolution. N2V2 (Hoeck et al. 2022, arXiv:2211.08512) does the first and not the second.

    Raises
    ------
    ValueError
        If a number or name is not one of these.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.networks import UNet
    >>> UNet(levels=3, base=4)(torch.zeros(1, 1, 16, 24)).shape
    torch.Size([1, 1, 16, 24])
    """

    hole = (1, 1)

    def __init__(self, in_channels=1, out_channels=1, *, levels=4, base=48, batch_norm=False, upsampling='transposed',
                 blur_pool=False, top_skip=True):
        super().__init__()
        if upsampling not in _UPSAMPLING:
            raise ValueError(f'upsampling must be {" or ".join(map(repr, _UPSAMPLING))}, got {upsampling!r}')
        if levels < 2 or base < 1:
            raise ValueError(f'levels must be at least 2 and base at least 1, got {levels} and {base}')
        self.config = {'in_channels': int(in_channels), 'out_channels': int(out_channels), 'levels': int(levels),
                       'base': int(base), 'batch_norm': bool(batch_norm), 'upsampling': upsampling,
                       'blur_pool': bool(blur_pool), 'top_skip': bool(top_skip)}
        widths = [base * 2 ** level for level in range(levels)]
        self.encoder = nn.ModuleList(_Block(before, width, batch_norm)
                                     for before, width in zip([in_channels, *widths], widths))
        self.pool = _BlurPool() if blur_pool else nn.MaxPool2d(2)
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(levels - 1)):
            width, coarse = widths[level], widths[level + 1]
            self.up.append(nn.ConvTranspose2d(coarse, width, 2, stride=2) if upsampling == 'transposed' else
                           nn.Sequential(nn.Upsample(scale_factor=2, mode='bilinear'), nn.Conv2d(coarse, width, 1)))
            self.decoder.append(_Block(width * (1 if level == 0 and not top_skip else 2), width, batch_norm))
        self.last = nn.Conv2d(base, out_channels, 1)

    @property
    def alignment(self):
        """Height and width of the input must be multiples of this number of pixels."""
        return 2 ** (self.config['levels'] - 1)

    @property
    def receptive_radius(self):
        """Largest distance in pixels, along an axis, at which an input can influence an output."""
        levels = self.config['levels']
        # Two convolutions a block, one pixel each, at the scale of the level, and what pooling, smoothing and
        # interpolation may add to each.
        return sum((4 if level < levels - 1 else 2) * 2 ** level for level in range(levels)) + 4 * self.alignment

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
            Shape (n, out_channels, height, width).

        Raises
        ------
        ValueError
            If height or width is not a multiple of `alignment`.
        """
        if x.shape[-1] % self.alignment or x.shape[-2] % self.alignment:
            raise ValueError(f'height and width must be multiples of {self.alignment}, got {tuple(x.shape[-2:])}')
        skips = []
        for block in self.encoder[:-1]:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.encoder[-1](x)
        for up, block in zip(self.up, self.decoder):
            x, skip = up(x), skips.pop()
            x = block(torch.cat([x, skip], dim=1) if skips or self.config['top_skip'] else x)
        return self.last(x)

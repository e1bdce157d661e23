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

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ['BlindSpotUNet', 'HalfPlaneConv2d']


def _shift_down(x, rows):
    """Move ``x`` by ``rows`` rows to larger row indices, zeros coming in."""
    if rows == 0:
        return x
    return F.pad(x[..., :-rows, :], (0, 0, rows, 0))


class HalfPlaneConv2d(nn.Conv2d):
    """
    A convolution whose output at row ``r`` depends on rows ``r - 1`` and ``r`` only.

    Parameters
    ----------
    in_channels, out_channels : int
        Number of channels of the input and of the output.
    """

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels, kernel_size=(2, 3), padding=(0, 1))

    def forward(self, x):
        return super().forward(F.pad(x, (0, 0, 1, 0)))


class _Block(nn.Sequential):
    """Two half-plane convolutions with activations."""

    def __init__(self, in_channels, out_channels):
        super().__init__(
            HalfPlaneConv2d(in_channels, out_channels), nn.LeakyReLU(0.1, inplace=True),
            HalfPlaneConv2d(out_channels, out_channels), nn.LeakyReLU(0.1, inplace=True))


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

    def forward(self, x):
        skips = []
        for block in self.encoder[:-1]:
            x = block(x)
            skips.append(x)
            # A pooled row covers two rows; without the shift its upper half would
            # look one row below itself after upsampling.
            x = F.avg_pool2d(_shift_down(x, 1), 2)
        x = self.encoder[-1](x)
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=2, mode='nearest')
            x = block(torch.cat([x, skips.pop()], dim=1))
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
        Height and width (odd) of the hole around a pixel that its output does not
        depend on. The weights do not depend on it.

    Notes
    -----
    Height and width of the input must be multiples of `alignment`. There is no
    normalisation over the batch or the image: it would let a pixel influence its
    own prediction, and paints artefacts on flat sky.

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
        self.config = {'in_channels': in_channels, 'out_channels': out_channels, 'widths': list(widths),
                       'decoder_widths': list(decoder_widths), 'head_width': head_width}
        self.hole = tuple(hole)
        self.branch = _HalfPlaneUNet(in_channels, widths, decoder_widths)
        features = decoder_widths[0] if decoder_widths else widths[0]
        self.join = nn.Conv2d(4 * features, head_width, 1)
        self.head = nn.Sequential(nn.LeakyReLU(0.1, inplace=True), nn.Conv2d(head_width, head_width // 2, 1),
                                  nn.LeakyReLU(0.1, inplace=True), nn.Conv2d(head_width // 2, out_channels, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1)
                nn.init.zeros_(module.bias)
        # The first guess is the background with the spread of the noise.
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
        Predict from an input of shape (n, in_channels, height, width).

        Returns
        -------
        tensor
            Shape (n, out_channels, height, width), float32.
        """
        if x.shape[-1] % self.alignment or x.shape[-2] % self.alignment:
            raise ValueError(f'height and width must be multiples of {self.alignment}, got {tuple(x.shape[-2:])}')
        turned = torch.cat([torch.rot90(x, turn, dims=(2, 3)) for turn in (0, 2)]
                           ), torch.cat([torch.rot90(x, turn, dims=(2, 3)) for turn in (1, 3)])
        features = []
        # Quarter turns swap height and width, so the branches go through in two batches.
        for pair, size in zip(turned, self.hole):
            pair = self.branch(pair.contiguous(memory_format=torch.channels_last))
            features.append(_shift_down(pair, (size + 1) // 2).chunk(2))
        features = [torch.rot90(features[turn % 2][turn // 2], -turn, dims=(2, 3)) for turn in range(4)]
        joined = self.join(torch.cat(features, dim=1))
        with torch.autocast(x.device.type, enabled=False):
            return self.head(joined.to(self.join.weight.dtype))

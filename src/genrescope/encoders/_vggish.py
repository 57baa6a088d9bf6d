"""VGGish's network in torch; see `genrescope.encoders.vggish`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genrescope.encoders._winograd import Winograd, max_pooled

_CHANNELS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0)  # 0: 2 × 2 max pooling
_QUANTISED = 2.0  # whitened components from -2 to 2 are quantised to 0 … 255


class VGGish(nn.Module):
    """The network, 72 141 184 parameters, and the fixed PCA behind it."""

    def __init__(self) -> None:
        super().__init__()
        convolutions: list[nn.Module] = []
        before = 1
        for channels in _CHANNELS:
            if channels:
                convolutions += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
                before = channels
            else:
                convolutions.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*convolutions)
        self.embeddings = nn.Sequential(
            *(nn.Linear(6 * 4 * 512, 4096), nn.ReLU(inplace=True)),
            *(nn.Linear(4096, 4096), nn.ReLU(inplace=True)),
            *(nn.Linear(4096, 128), nn.ReLU(inplace=True)),
        )
        self.pproc = Quantised()

    def forward(self, segments: Tensor) -> dict[str, Tensor]:
        """All layers of log-mel segments, `[n, 64, 96]` to `[n, size]` each."""
        # As pictures of one channel, time down and bands across. With channels last in memory the
        # convolutions are faster, and the flattening below copies nothing.
        pictures = segments.transpose(1, 2).unsqueeze(1)
        maps = self.features(pictures.contiguous(memory_format=torch.channels_last))
        return self.dense_layers(maps.permute(0, 2, 3, 1).flatten(1))

    def dense_layers(self, values: Tensor) -> dict[str, Tensor]:
        """All layers from the flattened maps, `[n, 12288]`, on."""
        found = {"conv": values}
        for number in (0, 2, 4):
            values = self.embeddings[number + 1](self.embeddings[number](values))
            found[f"fc{number // 2 + 1}"] = values
        return {**found, "pca": self.pproc(values)} if self.pproc.complete else found


class WinogradVGGish(nn.Module):
    """VGGish with Winograd's convolutions and channels last, to be exported."""

    def __init__(self, network: VGGish) -> None:
        super().__init__()
        self.network = network
        # The first two convolutions have too few channels to become faster.
        self.first, rest = network.features[:6], network.features[6:]
        self.rest = nn.ModuleList(
            Winograd(part) for part in rest.children() if isinstance(part, nn.Conv2d)
        )
        self.pooled = (1, 3)  # after these of the rest

    def forward(self, segments: Tensor) -> dict[str, Tensor]:
        """All layers of log-mel segments, `[n, 64, 96]` to `[n, size]` each."""
        maps = self.first(segments.transpose(1, 2).unsqueeze(1)).permute(2, 3, 0, 1)
        for number, part in enumerate(self.rest):
            maps = max_pooled(part(maps)) if number in self.pooled else part(maps)
        return self.network.dense_layers(maps.permute(2, 0, 1, 3).flatten(1))


class Quantised(nn.Module):
    """AudioSet's form of an embedding: whitened by PCA, then quantised to 8 bits; not trained.

    Attributes
    ----------
    complete
        Whether its parameters are loaded.
    """

    complete: bool = True
    pca_eigen_vectors: Tensor
    pca_means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pca_eigen_vectors", torch.eye(128))
        self.register_buffer("pca_means", torch.zeros(128, 1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Whole numbers from 0 to 255, `[n, 128]`."""
        whitened = (embeddings.float() - self.pca_means.T) @ self.pca_eigen_vectors.T
        kept = whitened.clamp(-_QUANTISED, _QUANTISED)
        return torch.round((kept + _QUANTISED) * (255 / (2 * _QUANTISED)))

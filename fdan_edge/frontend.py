"""The log-mel front end: one module for training and inside the exported graph.

It equals `librosa.power_to_db(librosa.feature.melspectrogram(y=...), ref=np.max)`. The STFT is a
Conv1d with a windowed DFT basis and the mel filterbank a 1x1 Conv1d, because ONNX's STFT has no CUDA
kernel in ONNX Runtime and does not parse in JetPack 6's TensorRT, and Turing refuses FP32 MatMul.
"""

from __future__ import annotations

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

TOP_DB = 80.0
AMIN = 1e-10


class LogMel(nn.Module):
    """Log-mel spectrogram in dB below the loudest point of each waveform.

    Args:
        sample_rate: Hz.
        n_fft: length of the DFT and its Hann window, samples.
        hop: step between frames, samples.
        n_mels: number of mel bands (Slaney scale and area norm, 0 to half the sample rate).
    """

    def __init__(self, sample_rate: int = 16000, n_fft: int = 1024, hop: int = 256, n_mels: int = 128) -> None:
        super().__init__()
        self.pad = n_fft // 2
        self.dft = nn.Conv1d(1, 2 * (n_fft // 2 + 1), n_fft, stride=hop, bias=False)
        self.mel = nn.Conv1d(n_fft // 2 + 1, n_mels, 1, bias=False)
        filters = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels)
        with torch.no_grad():
            self.dft.weight.copy_(torch.from_numpy(_dft_basis(n_fft))[:, None])
            self.mel.weight.copy_(torch.from_numpy(filters)[:, :, None])
        self.requires_grad_(False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveforms (n, samples) in float32 to dB (n, 1, n_mels, 1 + samples // hop), -80..0."""
        padded = nn.functional.pad(waveform[:, None], (self.pad, self.pad))
        real, imaginary = self.dft(padded).chunk(2, dim=1)
        power = self.mel(real.square() + imaginary.square())
        decibel = 10 * torch.log10(power.clamp_min(AMIN))
        decibel = decibel - decibel.amax(dim=(1, 2), keepdim=True)
        return decibel.clamp_min(-TOP_DB)[:, None]


def _dft_basis(n_fft: int) -> NDArray[np.float64]:
    """Rows of cosines then sines under a periodic Hann window, shape (2 (n_fft // 2 + 1), n_fft)."""
    window = librosa.filters.get_window("hann", n_fft, fftbins=True)
    frequency, time = np.arange(n_fft // 2 + 1)[:, None], np.arange(n_fft)
    # The product is reduced modulo n_fft first: cos of a large argument loses digits.
    angle = 2 * np.pi * (frequency * time % n_fft) / n_fft
    return np.asarray(np.concatenate([np.cos(angle), -np.sin(angle)]) * window)

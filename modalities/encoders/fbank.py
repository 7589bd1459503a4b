"""Kaldi's log-mel filterbank as BEATs uses it, from transformers' audio functions. It knows no network.

Shapes: N = samples, T = frames of 10 ms, M = mel bins.
"""

import warnings
from functools import cache

import numpy as np
from numpy.typing import NDArray
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

RATE = 16_000
FRAME, HOP, FFT, MELS = 400, 160, 512, 128  # 25 ms every 10 ms

Array = NDArray[np.float32]


def fbank(wave: Array) -> Array:
    """A wave (N,) from -1 to 1 -> log-mel energies (T, M) at the loudness of 16-bit samples."""
    bins = spectrogram(
        wave.astype(np.float64) * 2**15,
        window_function(FRAME, "povey", periodic=False),
        frame_length=FRAME,
        hop_length=HOP,
        fft_length=FFT,
        power=2.0,
        center=False,
        preemphasis=0.97,
        remove_dc_offset=True,
        mel_filters=_filters(),
        log_mel="log",
        mel_floor=float(np.finfo(np.float32).eps),
    )
    return np.asarray(bins.T, np.float32)  # (T, M)


@cache
def _filters() -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the lowest of 128 filters fall between two frequencies: so it is in Kaldi
        bank: NDArray[np.float64] = mel_filter_bank(
            num_frequency_bins=FFT // 2 + 1,
            num_mel_filters=MELS,
            min_frequency=20.0,
            max_frequency=RATE / 2,
            sampling_rate=RATE,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
    return bank

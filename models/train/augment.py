"""Makes one voice into many, and one room into many, on batches of 16 kHz sound [B, N]."""

import math
import random

import torch

N_FFT, STEP, LIFTER = 512, 128, 30
PERTURBED = 0.7  # of the rows; the others are as good as what is met most


def uniform(like, low, high):
    return torch.rand(len(like), 1, device=like.device) * (high - low) + low


def sometimes(x, change, chance):
    """A share of the rows changed; the others cost nothing."""
    count = int(chance * len(x) + random.random())
    if count == 0:
        return x
    rows = torch.randperm(len(x), device=x.device)[:count]
    return x.index_copy(0, rows, change(x[rows]))


def envelope(spectrum, lifter):
    """The smooth part of the log magnitude [B, F, T]."""
    n_fft = 2 * (spectrum.shape[1] - 1)
    cepstrum = torch.fft.irfft(torch.log(spectrum.abs() + 1e-5), dim=1)
    keep = torch.zeros(n_fft, device=spectrum.device)
    keep[:lifter] = keep[-lifter + 1 :] = 1
    return torch.fft.rfft(cepstrum * keep[:, None], dim=1).real


def formants(x, factor):
    """Stretches the spectral envelope by `factor` [B, 1]; the pitch stays."""
    window = torch.hann_window(N_FFT, device=x.device)
    spectrum = torch.stft(x, N_FFT, STEP, window=window, return_complex=True)
    smooth = envelope(spectrum, LIFTER)
    bins = torch.arange(smooth.shape[1], device=x.device)
    source = (bins / factor).clamp(max=bins[-1])
    low = source.floor().long().clamp(max=len(bins) - 2)
    part = (source - low)[..., None]
    gather = lambda index: smooth.gather(1, index[..., None].expand(-1, -1, smooth.shape[2]))  # noqa: E731
    warped = gather(low) * (1 - part) + gather(low + 1) * part
    gain = torch.exp((warped - smooth).clamp(-5, 5))
    return torch.istft(spectrum * gain, N_FFT, STEP, window=window, length=x.shape[1])


def repitched(x, length, n_fft=1024, step=256, lifter=60):
    """Sound [B, N] played in `length` samples: its pitch moves, its formants stay where they were."""
    moved = resampled(x, length)
    window = torch.hann_window(n_fft, device=x.device)
    spectrum = torch.stft(moved, n_fft, step, window=window, return_complex=True)
    wanted = envelope(torch.stft(x, n_fft, step, window=window, return_complex=True), lifter)
    wanted = torch.nn.functional.interpolate(wanted, size=spectrum.shape[2], mode="linear", align_corners=True)
    gain = torch.exp((wanted - envelope(spectrum, lifter)).clamp(-6, 6))
    return torch.istft(spectrum * gain, n_fft, step, window=window, length=length)


def resampled(x, length):
    """Band-limited resampling of [B, N] to `length` samples."""
    spectrum = torch.fft.rfft(x)
    bins = length // 2 + 1
    spectrum = torch.nn.functional.pad(spectrum, (0, max(0, bins - spectrum.shape[1])))[:, :bins]
    return torch.fft.irfft(spectrum, n=length) * (length / x.shape[1])


def filtered(x, log_gain):
    """Applies a smooth curve of log gains [B, K], from 0 to 8 kHz on a warped axis."""
    spectrum = torch.fft.rfft(x)
    curve = torch.nn.functional.interpolate(log_gain[:, None], size=512, mode="linear", align_corners=True)[:, 0]
    axis = (torch.linspace(0, 1, spectrum.shape[1], device=x.device).sqrt() * 511).long()
    return torch.fft.irfft(spectrum * torch.exp(curve[:, axis]), n=x.shape[1])


def low_passed(x):
    """From 3.4 kHz up."""
    cut = torch.linspace(0, 1, 24, device=x.device)[None] > uniform(x, 0.65, 0.98)
    return filtered(x, cut * -6.0)


def room(x):
    """A synthetic room, from a booth to a living room, the microphone near: a direct path, a few early echoes, and a tail whose highs
    decay sooner."""
    length = 9_000
    t = torch.arange(length, device=x.device) / 16_000
    decay = torch.exp(uniform(x, math.log(0.08), math.log(0.6)))
    noise = torch.fft.rfft(torch.randn(len(x), length, device=x.device))
    low = torch.linspace(0, 8, noise.shape[1], device=x.device) < uniform(x, 1, 4)  # kHz
    band = lambda kept, decay: torch.fft.irfft(noise * kept, n=length) * torch.exp(-6.9 * t / decay)  # noqa: E731
    tail = band(low, decay) + band(~low, decay * uniform(x, 0.3, 1.0))
    echoes = (torch.rand(len(x), length, device=x.device) < 0.015) * (t < 0.04)
    tail = tail * (1 + 4 * echoes * uniform(x, 0, 1)) * (t > 0.002)
    tail = tail / (tail.norm(dim=1, keepdim=True) + 1e-6) * torch.exp(uniform(x, math.log(0.05), math.log(0.7)))
    tail[:, 0] = 1
    n = x.shape[1] + length
    return torch.fft.irfft(torch.fft.rfft(x, n) * torch.fft.rfft(tail, n), n=n)[:, : x.shape[1]]


def noise(x, other=None):
    """Coloured noise and other speech, of the batch where no `other` is given, far down to quite near."""
    spectrum = torch.fft.rfft(torch.randn_like(x))
    tilt = uniform(x, 0.0, 1.0)
    f = torch.arange(1, spectrum.shape[1] + 1, device=x.device, dtype=torch.float32)
    coloured = torch.fft.irfft(spectrum * f**-tilt, n=x.shape[1])
    level = lambda y: y.square().mean(1, keepdim=True).sqrt() + 1e-6  # noqa: E731
    babble = torch.rand(len(x), 1, device=x.device) < 0.1
    mixed = torch.where(babble, x.roll(1, 0) if other is None else other, coloured)
    return x + mixed / level(mixed) * level(x) * 10 ** (-uniform(x, 10, 45) / 20)


def narrow(x):
    """Telephones: 8-bit companding."""
    peak = x.abs().amax(1, keepdim=True) + 1e-6
    y = torch.sign(x) * torch.log1p(255 * x.abs() / peak) / math.log(256)
    y = torch.round(y * 127) / 127
    return torch.sign(y) * (torch.exp(y.abs() * math.log(256)) - 1) / 255 * peak


@torch.no_grad()
def perturb(x):
    """Everything above, each now and then, and any level."""
    x = sometimes(x, changed, PERTURBED)
    loud = x / (x.abs().amax(1, keepdim=True) + 1e-3)
    return loud * torch.exp(uniform(x, math.log(0.05), 0.0))


@torch.no_grad()
def elsewhere(x, other):
    """Sound [1, N] as another microphone, most often in a room, has it, now and then beside `other` [1, M]; as loud as before."""
    loud = x.abs().amax(1, keepdim=True)
    x = sometimes(x, lambda y: filtered(y, torch.randn(len(y), 10, device=y.device) * 0.45), 0.3)
    x = sometimes(x, low_passed, 0.1)
    x = sometimes(x, room, 0.8)
    other = other.repeat(1, -(-x.shape[1] // other.shape[1]))[:, : x.shape[1]]
    x = sometimes(x, lambda y: noise(y, other), 0.3)
    x = sometimes(x, narrow, 0.05)
    return x / (x.abs().amax(1, keepdim=True) + 1e-6) * loud


def changed(x):
    x = sometimes(x, lambda y: formants(y, torch.exp(uniform(y, math.log(0.87), math.log(1.15)))), 0.5)
    x = sometimes(x, lambda y: filtered(y, torch.randn(len(y), 10, device=y.device) * 0.45), 0.6)
    x = sometimes(x, low_passed, 0.15)
    x = sometimes(x, room, 0.2)
    x = sometimes(x, noise, 0.45)
    return sometimes(x, narrow, 0.05)

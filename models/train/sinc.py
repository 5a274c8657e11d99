"""Sound at times between its samples.

Between two samples a straight line is a low-pass filter, another at each place: it takes from consonants what tells them apart.
"""

import torch

TAPS, PHASES = 16, 256


def kernels(speed: torch.Tensor) -> torch.Tensor:
    """Windowed sinc kernels [B, PHASES, TAPS] for sound that is played `speed` [B] times as fast, without aliases."""
    cutoff = (1 / speed.clamp(min=1.0)).view(-1, 1, 1)
    phase = torch.arange(PHASES, device=speed.device)[:, None] / PHASES
    x = torch.arange(TAPS, device=speed.device)[None] - (TAPS // 2 - 1) - phase
    weights = torch.sinc(cutoff * x) * torch.cos(torch.pi * x / TAPS).square()
    return weights / weights.sum(-1, keepdim=True)


def sounded(sample, at: torch.Tensor, speed: torch.Tensor) -> torch.Tensor:
    """What lies at the positions `at` [B, T], played `speed` [B] times as fast; `sample` reads whole positions."""
    whole = at.floor()
    phase, table = ((at - whole) * PHASES).long(), kernels(speed)
    first = whole.long() - (TAPS // 2 - 1)
    return sum(sample(first + tap).float() * table[..., tap].gather(1, phase) for tap in range(TAPS))

"""python -m train.content: the encoder, and with it the text encoder that turns its units into joe's latent.

One network hears many voices and rooms and predicts, all at once, the phone, what whisper hears, and the latent from which
joe's own generator would speak the same. No generator is in the loop, so a second of sound costs milliseconds.
"""

import argparse
import copy
import itertools
import random
import time

import torch
from torch import nn
from torch.nn import functional as F

from .augment import perturb
from .cache import UNITS, Cache
from .common import DEVICE, RUNS, fast, load, save, schedule, setup
from .dataset import Corpus, stack
from .features import TEACHER_DIM
from .listener import Listener
from .nets.hubert import UNIT, Hubert
from .nets.rvc import LATENT, TextEncoder
from .resident import Resident

PHONES = 160
WARM_UP = 50  # steps
SPARSE = 3  # one in so many utterances trains the text encoder


class Content(nn.Module):
    def __init__(self):
        super().__init__()
        self.hubert, self.enc_p, self.sparse = Hubert(), TextEncoder(), SPARSE
        self.phone, self.heard = nn.Linear(UNIT, PHONES), nn.Linear(UNIT, TEACHER_DIM)
        self.direct = nn.Linear(UNIT, LATENT)  # keeps the units themselves close to the latent

    def train(self, mode=True):
        super().train(mode)
        if self.sparse == 1:  # the encoder is not what learns
            self.hubert.eval()
        return self

    def begin_with(self, taught):
        """The first layers as `filters` taught them, and what they say, log mel spectra, as the projection's first values."""
        projection, norm, told = self.hubert.feature_projection, *(
            {name.split(".")[1]: value for name, value in taught["told"].items() if name.startswith(part)} for part in "01"
        )
        self.hubert.feature_extractor.load_state_dict(taught["filters"])
        projection.layer_norm.load_state_dict(norm)
        with torch.no_grad():
            for name, value in projection.projection.named_parameters():
                value[: len(told[name])] = told[name]
                value[len(told[name]) :] = 0  # as `spectra` has it

    def units(self, batch):
        return self.hubert.units(batch["frames"]) if "frames" in batch else self.hubert(batch["audio"])

    def forward(self, batch):
        """Units of all, and the latent of some: the text encoder costs as much as the encoder and learns faster. It attends to
        all that there is, so several stretches in a row teach it long recordings."""
        units = self.units(batch)
        some, f0 = units[:: self.sparse].repeat_interleave(2, 1), batch["f0"][:: self.sparse]
        rows = random.choice([n for n in (1, 2, 4) if len(some) % n == 0]) if self.training else 1
        latent = self.enc_p(some.reshape(-1, rows * some.shape[1], UNIT), f0.reshape(-1, rows * f0.shape[1]))
        return units, latent.transpose(1, 2).reshape(*f0.shape, LATENT)


class Optimizer:
    """Muon for the matrices of the encoder's layers, AdamW for the rest."""

    def __init__(self, model, rate):
        layers = [part for layer in model.hubert.encoder.layers for part in (layer.feed_forward, layer.attention.out_proj)]
        matrices = [p for part in layers for p in part.parameters() if p.dim() == 2 and p.requires_grad]
        rest = [p for p in model.parameters() if p.requires_grad and all(p is not m for m in matrices)]
        self.parts = [torch.optim.AdamW(rest, rate, betas=(0.9, 0.98), weight_decay=0.01)]
        if matrices:
            self.parts.append(torch.optim.Muon(matrices, rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"))

    def step(self, rate):
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad()

    def state_dict(self):
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states):
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)


def masked(loss, on):
    return (loss * on).sum() / (on.sum() + 1)


def head_losses(model, units, batch, latent_scale):
    """What the units say without the text encoder."""
    target, on = batch["latent"] / latent_scale, batch["latent_on"]
    phone = F.cross_entropy(model.phone(units).flatten(0, 1), batch["phone"].flatten(), ignore_index=-1)
    heard = F.smooth_l1_loss(model.heard(units), batch["heard"], reduction="none").mean(-1)
    direct = F.mse_loss(model.direct(units).repeat_interleave(2, 1) / latent_scale, target, reduction="none").mean(-1)
    return {"phone": phone, "heard": masked(heard, batch["heard_on"]), "direct": masked(direct, on)}


def losses(model, batch, latent_scale, listener=None):
    units, latent = model(batch)
    units, latent = units.float(), latent.float()
    target, on = batch["latent"][:: model.sparse] / latent_scale, batch["latent_on"][:: model.sparse]
    near = F.mse_loss(latent / latent_scale, target, reduction="none").mean(-1)
    parts = head_losses(model, units, batch, latent_scale) | {"latent": masked(near, on)}
    total = parts["phone"] + 0.5 * parts["heard"] + 2 * parts["latent"] + 0.5 * parts["direct"]
    if listener:
        parts["sound"] = listener(latent, batch["latent"][:: model.sparse], on, batch["f0"][:: model.sparse])
        total = total + parts["sound"]
    hit = (model.phone(units).argmax(-1) == batch["phone"])[batch["phone"] >= 0].float().mean()
    return total, {k: v.detach() for k, v in parts.items()} | {"hit": hit}


def to_device(batch):
    return {k: v.to(DEVICE, torch.float32 if v.is_floating_point() else v.dtype) for k, v in batch.items()}


def fit_heads(model, speech, scale, count=12, steps=300):
    """Teaches the heads alone, on units that stay as they are."""
    model.eval()
    given = list(itertools.islice(speech, count))
    with torch.no_grad(), fast():
        kept = [(model.units(batch).float(), batch) for batch in given]
    heads = [*model.phone.parameters(), *model.heard.parameters(), *model.direct.parameters()]
    optimizer = torch.optim.AdamW(heads, 1e-2, weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / steps)
        units, batch = kept[step % count]
        optimizer.zero_grad()
        sum(head_losses(model, units, batch, scale).values()).backward()
        optimizer.step()
    model.train()


def batches(args, corpus, model, rng):
    """Endless perturbed speech."""
    if args.cached:
        cache = Cache(model)
        while True:
            cache.refresh()
            yield to_device(cache.batch(rng, args.batch))
    resident = Resident(corpus)
    while True:
        batch = resident.batch(args.batch, args.units)
        batch["audio"] = torch.where(batch["loud"].view(-1, 1), perturb(batch["audio"]), batch["audio"])
        yield batch


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--steps", type=int, default=20_000)
    args.add_argument("--minutes", type=float, help="train for so long instead")
    args.add_argument("--batch", type=int, default=12)
    args.add_argument("--units", type=int, default=UNITS)
    args.add_argument("--rate", type=float, default=2e-4)
    args.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    args.add_argument("--cached", action="store_true", help="train on what `cache` wrote; the first layers stay as they are")
    args.add_argument("--text", action="store_true", help="train the text encoder alone, on units as they are")
    args.add_argument("--listen", action="store_true", help="judge by the sound too, as the generator of `vocoder` makes it")
    args = args.parse_args()
    path = RUNS / "content.pt"
    state = load(path) or {"step": 0}
    step = first = state["step"]
    base = state.get("base", 0)  # steps of those before, when it goes on from a pack
    rng = setup(100 + step)
    corpus, model = Corpus(), Content().to(DEVICE)
    model.hubert.feature_extractor.requires_grad_(not args.cached)
    if args.text:
        model.requires_grad_(False).enc_p.requires_grad_(True)
        model.sparse = 1
    optimizer = Optimizer(model, args.rate)
    if not step:
        model.begin_with(load(RUNS / "filters.pt"))
    else:
        model.load_state_dict(state["model"])
        if len(state.get("optimizer", [])) == len(optimizer.parts):  # else the network alone was brought here
            optimizer.load_state_dict(state["optimizer"])
    scale = (state["scale"] if "scale" in state else corpus.spread()).to(DEVICE)
    check = to_device(stack([corpus.cut(i, setup(5), UNITS, 1.0) for i in corpus.valid[::5][:24]]))
    listener = Listener().to(DEVICE).eval() if args.listen else None
    speech = batches(args, corpus, model, rng)

    def kept() -> dict:
        return {"base": base, "model": model.state_dict(), "optimizer": optimizer.state_dict()}

    def done() -> float:
        return (time.time() - entered) / (60 * args.minutes) if args.minutes else (step - base) / args.steps

    def validated() -> dict:
        model.eval()
        with torch.no_grad(), fast():
            held = losses(model, check, scale, listener)[1]
        model.train()
        return held

    def remembered(held) -> dict:
        return copy.deepcopy({"step": step, "phone": held["phone"], **kept()})

    sums, count, rate, finished = {}, 0, args.rate, False
    if step and "scale" not in state:  # a pack, which has no heads
        fit_heads(model, speech, scale)
        print(f"{step} " + " ".join(f"{k} {v:.3f}" for k, v in validated().items()), flush=True)
    best = remembered(validated()) if step else None
    entered = began = time.time()
    while not finished:
        batch = next(speech)
        with fast():
            total, parts = losses(model, batch, scale, listener)
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(rate * schedule(step - first, done(), WARM_UP))
        step, count, finished = step + 1, count + 1, done() >= 1
        for key, value in parts.items():
            sums[key] = sums.get(key, 0.0) + value
        if step % args.every == 0 or finished:
            held = validated()
            shown = " ".join(f"{k} {v / count:.3f}/{held[k]:.3f}" for k, v in sums.items())
            print(f"{step} {shown} {(time.time() - began) / count:.3f} s/step {len(corpus.items)} items", flush=True)
            sums, count, began = {}, 0, time.time()
            if best and not held["phone"] < best["phone"] + 0.3:  # it fell apart, as too high a rate has it
                rate /= 2
                print(f"back to step {best['step']}, at a rate of {rate}", flush=True)
                model.load_state_dict(best["model"])
                optimizer.load_state_dict(copy.deepcopy(best["optimizer"]))  # it would train on the copy that is kept
                continue
            if not best or held["phone"] < best["phone"]:
                best = remembered(held)
            save(path, step=step, scale=scale.cpu(), **kept())


if __name__ == "__main__":
    main()

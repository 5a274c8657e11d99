"""python -m train.finetune: the generator on what the encoder really says, and the text encoder with it.

Joe's speech, perturbed, and Kokoro's speech go through the trained encoder; the sound must be joe's. The encoder itself
stays as it is, so its units can be indexed.
"""

import argparse
import time

import numpy as np
import torch

from .augment import perturb, repitched
from .common import DEVICE, FRAME_HOP, OUTPUT_HZ, RUNS, UNIT_HOP, fast, load, save, schedule, setup
from .content import Content
from .dataset import LATENT_HZ, Corpus, between, played
from .features import voiced_as
from .nets.discriminator import Judges, generator_loss, judge_loss
from .nets.hubert import EDGE
from .nets.rvc import Voice
from .vocoder import MARGIN, SpectralLoss

BEFORE = 60  # units that the encoder hears before the segment
AROUND = 100  # frames that the text encoder sees around it
UNSEASONED = 200  # steps before fresh judges are listened to


class Joined(Corpus):
    """Source sound, pitch, latent and target sound of the same stretch, joe transposed by `speed`. Time is joe's: units are
    taken from where the source says the same."""

    def beside(self, item, shift, source_pitch):
        return {"f0": voiced_as(item["f0"], source_pitch, item["lag"]), "shift": shift}

    def stretch(self, item, rng, frames: int, speed: float):
        units = BEFORE + (frames + AROUND) // 2
        length = len(item["sound"]) / OUTPUT_HZ
        start = rng.uniform(-0.1, max(0.0, length - frames * 0.01 * speed))  # of the segment, in joe's time
        source_at = start - item["lag"] - BEFORE * 0.02 * speed
        audio = played(item["audio"], source_at, units * UNIT_HOP + EDGE, speed)
        frame_at = start + (np.arange(-AROUND, frames + AROUND) + 0.5) * 0.01 * speed
        there = frame_at - item["lag"]
        if item.get("shift") is not None:
            grid = (np.arange(len(item["shift"])) + 0.5) * 0.01
            said = grid + item["lag"] + 0.01 * item["shift"]
            there = np.where((frame_at > said[0]) & (frame_at < said[-1]), np.interp(frame_at, said, grid), there)
        unit = np.clip((there - source_at) / (0.02 * speed), 0, units - 1).astype(int)
        known = (frame_at >= 0) & (frame_at < length)
        f0 = item["f0"][np.clip((frame_at * 100).astype(int), 0, len(item["f0"]) - 1)] * known * speed
        latent = between(item["latent"], frame_at * LATENT_HZ - 0.5)
        first = int(round((start - MARGIN * 0.01 * speed) * OUTPUT_HZ))
        index = first + np.arange(int(round((frames + 2 * MARGIN) * FRAME_HOP * speed)))
        inside = (index >= 0) & (index < len(item["sound"]))
        sound = item["sound"][np.clip(index, 0, len(item["sound"]) - 1)].astype(np.float32) / 32768 * inside
        if speed != 1.0:
            sound = repitched(torch.from_numpy(sound)[None], (frames + 2 * MARGIN) * FRAME_HOP)[0].numpy()
        return audio, unit, f0, latent, sound[MARGIN * FRAME_HOP : -MARGIN * FRAME_HOP], np.float32(speed == 1.0)

    def segments(self, rng, size: int, frames: int):
        spoken = [i for i, item in enumerate(self.items) if item.get("sound") is not None]
        chances = self.chances[spoken] / self.chances[spoken].sum()
        out = []
        for i in rng.choice(spoken, size, p=chances):
            speed = float(np.exp(rng.uniform(np.log(0.85), np.log(1.5)))) if rng.random() < 0.35 else 1.0
            out.append(self.stretch(self.items[i], rng, frames, speed))
        return [torch.from_numpy(np.stack(c).astype(np.float32)).to(DEVICE) for c in zip(*out)]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--steps", type=int, default=3000)
    args.add_argument("--batch", type=int, default=4)
    args.add_argument("--frames", type=int, default=32)
    args.add_argument("--rate", type=float, default=2e-4)
    args.add_argument("--every", type=int, default=50)
    args = args.parse_args()
    path = RUNS / "finetune.pt"
    state, before, heard = load(path), load(RUNS / "vocoder.pt"), load(RUNS / "content.pt")
    step = state["step"] if state else 0
    rng = setup(300 + step)
    corpus, content, voice = Joined(), Content().to(DEVICE), Voice().to(DEVICE)
    seasoned = "judges" in before  # a pack has none
    judges, spectral = Judges().to(DEVICE), SpectralLoss().to(DEVICE)
    content.load_state_dict(heard["model"])
    if state:
        content.hubert.load_state_dict(state["hubert"])
    else:
        voice.load_state_dict(before["voice"])
        voice.enc_p.load_state_dict(content.enc_p.state_dict())
        if seasoned:
            judges.load_state_dict(before["judges"])
    spoken = next(item for item in corpus.items if "latent" in item)
    scale = heard.get("scale", torch.from_numpy(spoken["latent"].astype("float32")).std()).to(DEVICE)
    encoder = content.hubert.eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(voice.parameters(), args.rate, betas=(0.8, 0.99), weight_decay=0.0)
    judging = torch.optim.AdamW(judges.parameters(), 2 * args.rate, betas=(0.8, 0.99))
    if state:
        voice.load_state_dict(state["voice"])
        judges.load_state_dict(state["judges"])
        optimizer.load_state_dict(state["optimizer"])
        judging.load_state_dict(state["judging"])
    keep = slice(AROUND - 8, -(AROUND - 8))  # frames that the generator gets
    edge = 8 * FRAME_HOP
    sums, count, began = np.zeros(6), 0, time.time()
    while step < args.steps:
        for group in [*optimizer.param_groups, *judging.param_groups]:
            group["lr"] = args.rate * schedule(step, step / args.steps, 50)
        audio, unit, f0, latent, real, own = corpus.segments(rng, args.batch, args.frames)
        with fast():
            with torch.no_grad():
                units = encoder(perturb(audio))
                units = units.gather(1, unit.long()[..., None].expand(-1, -1, units.shape[2]))
            guessed = voice.latent(units, f0)
            made = voice.sound(guessed[..., keep], f0[:, keep])
        made = made.float()[:, edge:-edge]
        loss, mel = spectral(made, real)
        off = (guessed.float().transpose(1, 2) - latent) / scale
        near = off.square().mean((1, 2)) @ own / (own.sum() + 1)
        with fast():
            judged = judge_loss(judges, real, made)
            judging.zero_grad()
            judged.backward()
            judging.step()
            fooled, alike = generator_loss(judges, real, made)
        if seasoned or step >= UNSEASONED:
            loss = loss + 0.2 * fooled + 0.5 * alike
        loss = loss + 0.5 * near
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(voice.parameters(), 10.0)
        optimizer.step()
        step, count = step + 1, count + 1
        sums += [loss.item(), mel.item(), near.item(), fooled.item(), alike.item(), judged.item()]
        if step % args.every == 0 or step == args.steps:
            save(
                path,
                step=step,
                hubert=encoder.state_dict(),
                voice=voice.state_dict(),
                judges=judges.state_dict(),
                optimizer=optimizer.state_dict(),
                judging=judging.state_dict(),
            )
            names = ["loss", "mel", "latent", "fooled", "alike", "judged"]
            shown = " ".join(f"{n} {v / count:.3f}" for n, v in zip(names, sums))
            print(f"{step} {shown} {(time.time() - began) / count:.3f} s/step", flush=True)
            sums, count, began = np.zeros(6), 0, time.time()
            corpus.refresh()


if __name__ == "__main__":
    main()

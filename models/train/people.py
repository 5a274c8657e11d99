"""python -m train.people: actors' lines of a game, cut into phones, and joe saying the same with the same timing.

`flight-of-the-amazon-queen` (Debian) holds what some sixty characters say beside what is read meanwhile. Where in the sound each
phone lies is told by the encoder as it is (`runs/content.pt`), so this follows `spectra`, and another `spectra` follows this.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from .common import DATA, DEVICE, INPUT_HZ, JOE_HOP, JOE_HZ, RUNS, UNIT_HOP, load, setup
from .content import Content
from .data import SHARD, complete, joe_says, write
from .dataset import BEGIN, END, LONG, PAD, SILENT, SPACE, STRESS
from .features import keep_source_pitch, pitches
from .games import AmazonQueen
from .nets.hubert import EDGE
from .speech import Joe, phonemes

SHORTEST, LONGEST = 1.05, 20.0  # seconds
FRAME = UNIT_HOP // 2  # samples: phones are told every 10 ms, of sound that begins here and half a unit later
LEAST = 2  # frames of a phone
PAUSE = 6  # frames of silence between words that are not joined
COMMA = 8  # Piper's number
UNLIKE = 1.9  # nepers a frame that what is written may be less likely than what is heard at most


@torch.no_grad()
def heard(content: Content, audio: np.ndarray) -> np.ndarray:
    """Log probabilities of the phones [T, PHONES], every 10 ms, the first of the frame around 10 ms."""
    units = len(audio) // UNIT_HOP
    sound = np.pad(audio.astype(np.float32) / 32768, (0, EDGE + FRAME))
    both = np.stack([sound[k * FRAME :][: units * UNIT_HOP + EDGE] for k in (0, 1)])
    told = content.phone(content.hubert(torch.from_numpy(both).to(DEVICE))).log_softmax(2)
    return told.transpose(0, 1).flatten(0, 1).cpu().numpy()


def grouped(ids: list[int]) -> list[tuple[int, list[int]]]:
    """Phones, and silences that may be there, `BEGIN`, each with where its tokens are: what is written but not said belongs to what
    is before, a stress to what follows."""
    groups, stressed = [], False
    for at, token in enumerate(ids):
        silent = token in (BEGIN, END, SPACE, *SILENT)
        joins = token in (PAD, LONG) or (silent and groups and groups[-1][0] == BEGIN)
        if groups and (joins or (stressed and not silent)):
            label, tokens = groups[-1]
            groups[-1] = (token if stressed and token not in (PAD, LONG, *STRESS) else label, [*tokens, at])
        else:
            groups.append((BEGIN if silent else token, [at]))
        stressed = token in STRESS or (stressed and token == PAD)
    return groups


def cut(logs: np.ndarray, labels: list[int]) -> tuple[np.ndarray, float]:
    """Where each of `labels` begins, in frames, and the last ends, so that all are most likely; and how much likelier than that the
    likeliest phones are, whatever is written, in nepers a frame."""
    owner = [i for i, label in enumerate(labels) for _ in range(1 if label == BEGIN else LEAST)]
    labels_of = np.array(labels)[owner]
    stays = np.append(np.diff(owner) > 0, True)  # the last of a phone's states, and silences
    skips = np.zeros(len(owner), bool)
    skips[2:] = labels_of[1:-1] == BEGIN  # from before a silence to after it
    total = np.full(len(owner), -np.inf)
    total[:2] = logs[0, labels_of[:2]] if labels_of[0] == BEGIN else [logs[0, labels_of[0]], -np.inf]
    came = np.zeros((len(logs), len(owner)), np.int8)
    for t in range(1, len(logs)):
        options = np.stack([
            np.where(stays, total, -np.inf),
            np.append(-np.inf, total[:-1]),
            np.where(skips, np.append([-np.inf, -np.inf], total[:-2]), -np.inf),
        ])  # fmt: skip
        came[t] = options.argmax(0)
        total = options.max(0) + logs[t, labels_of]
    state = len(owner) - 1 if labels_of[-1] != BEGIN or total[-1] >= total[-2] else len(owner) - 2
    likely, path = total[state] / len(logs), np.zeros(len(logs), int)
    for t in range(len(logs) - 1, -1, -1):
        path[t] = owner[state]
        state -= int(came[t, state])
    return np.searchsorted(path, np.arange(len(labels) + 1)), float(logs.max(1).mean() - likely)


def timed(ids: list[int], begins: np.ndarray, groups, natural: np.ndarray) -> np.ndarray:
    """Frames of joe's per token: each group's time is shared as joe would share it."""
    seconds = np.zeros(len(ids))
    borders = np.append(0, np.minimum(begins[1:] + 0.5, begins[-1]))  # frames are told around their ends
    for (_, tokens), length in zip(groups, np.diff(borders) * FRAME / INPUT_HZ):
        seconds[tokens] = length * natural[tokens] / natural[tokens].sum()
    return np.diff(np.round(np.append(0, seconds.cumsum()) * JOE_HZ / JOE_HOP))


def people(game: AmazonQueen, lines: list[tuple[str, str]], content: Content, joe: Joe) -> list[dict]:
    with ThreadPoolExecutor(2) as pool:
        sounds = list(pool.map(game.sound, [name for name, _ in lines]))
    out = []
    for (_, text), audio in zip(lines, sounds):
        if not SHORTEST < len(audio) / INPUT_HZ < LONGEST:
            continue
        text = text.capitalize() if text.isupper() else text  # espeak-ng would spell it
        ids = joe.tokens(phonemes(text.replace("...", ", ")))
        groups = grouped(ids)
        if len(audio) // FRAME < 2 + LEAST * len(groups):
            continue
        begins, unlike = cut(heard(content, audio), [label for label, _ in groups])
        if unlike > UNLIKE:
            continue
        for (_, tokens), length in zip(groups, np.diff(begins)):
            if ids[tokens[0]] == SPACE and length >= PAUSE:
                ids[tokens[0]] = COMMA  # or the phone before would be said all the while
        frames = timed(ids, begins, groups, np.asarray(joe.durations(ids, 1.0), float) + 0.1)
        out.append({"other": audio, **joe_says(joe, ids, frames, 0.667, aloud=False)})
    return out


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--game", type=Path, default=AmazonQueen.PATH, help="its queen.1c")
    args = args.parse_args()
    setup(6000)
    state = load(RUNS / "content.pt")
    if "scale" not in (state or {}):
        raise SystemExit(f"{RUNS / 'content.pt'}: there is none that tells phones: run train.spectra before")
    game, joe, content = AmazonQueen(args.game), Joe(), Content().to(DEVICE).eval()
    content.load_state_dict(state["model"])
    lines = game.dialogues() + game.cutaways()
    for index in range(-(-len(lines) // SHARD)):
        name, some = f"people-{index:03}", lines[index * SHARD : (index + 1) * SHARD]
        if (DATA / f"{name}.npz").exists():
            continue
        utterances = people(game, some, content, joe)
        if utterances:
            keep_source_pitch(name, utterances)
            write(name, complete(utterances))
            pitches(name)
        seconds = sum(len(u["other"]) for u in utterances) / INPUT_HZ
        print(f"{name}: {len(utterances)} of {len(some)} lines, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()

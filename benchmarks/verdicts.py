"""Simulates how often the verdict refuses a good model, and lets a bad one through.

Simulates answers on test images and applies the rules of `components/evaluator/verdict.py`, beside the rule of 0.2.0:
an accuracy below the live version's is refused.

An image has a difficulty, drawn from a beta distribution: the probability that a model is right on it. Models are
right or wrong independently, given the difficulty. So two equally good models have the given accuracy, and disagree on
the given share of the images. A worse model has all probabilities lowered by one factor. The best kept version is the
one of ten that has the most right answers on the same images, as in the folder of a model.

Run: .venv/bin/python -m benchmarks.verdicts [--trials 20000] [--accuracy 0.9] [--discordant 0.06]
"""

import argparse
import functools
import json

import numpy as np

from components.evaluator.verdict import LEVEL, LEVEL_OF_BEST
from components.proportions import count_needed, mcnemar_p

SIZES = (200, 1000, 5000)
DROPS = (0.0, 0.01, 0.02, 0.05)
KEPT = 10  # keep_versions
NIGHTS = 20
SLIDE = 0.005  # points of accuracy that each night's model is below the live version

find_p = functools.cache(mcnemar_p)


class Images:
    """Test images of one trial, with a difficulty each."""

    def __init__(self, rng: np.random.Generator, count: int, accuracy: float, discordant: float):
        """Draws the difficulties.

        Args:
            rng: generator of random numbers.
            count: number of images.
            accuracy: accuracy of a model, 0 to 1.
            discordant: share of the images on which one of two equal models is right, 0 to 1.
        """
        spread = accuracy * (1 - accuracy) / (discordant / 2) - 1  # E[q(1 - q)] = a(1 - a) s / (s + 1), s = 1 / spread
        self._rng, self._accuracy = rng, accuracy
        self._right = rng.beta(accuracy / spread, (1 - accuracy) / spread, count)

    def answer(self, drop: float = 0.0) -> np.ndarray:
        """Draws the answers of a model that is worse by `drop`; True where it is right, bool [count]."""
        return self._rng.random(len(self._right)) < self._right * (1 - drop / self._accuracy)


def is_below(candidate: np.ndarray, live: np.ndarray) -> bool:
    """Applies the rule of 0.2.0 with its default, a drop of 0."""
    return bool(candidate.sum() < live.sum())


def is_worse(candidate: np.ndarray, other: np.ndarray, level: float = LEVEL) -> bool:
    """Applies the test of McNemar."""
    return find_p(int((other & ~candidate).sum()), int((candidate & ~other).sum())) <= level


def measure_refusals(rng: np.random.Generator, count: int, drop: float, args: argparse.Namespace) -> dict[str, float]:
    """Returns the share of candidates that each rule refuses, which are worse by `drop`."""
    refused = {"0.2.0": 0, "live": 0, "live and best": 0, "best at 0.05": 0}
    for _ in range(args.trials):
        images = Images(rng, count, args.accuracy, args.discordant)
        kept = [images.answer() for _ in range(KEPT)]
        candidate, live, best = images.answer(drop), kept[-1], max(kept, key=np.count_nonzero)
        by_live = is_worse(candidate, live)
        refused["0.2.0"] += is_below(candidate, live)
        refused["live"] += by_live
        refused["live and best"] += by_live or is_worse(candidate, best, LEVEL_OF_BEST)
        refused["best at 0.05"] += by_live or is_worse(candidate, best)
    return {rule: number / args.trials for rule, number in refused.items()}


def measure_slide(rng: np.random.Generator, count: int, args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Returns the points that the live version has lost after the nights, and the nights refused, by rule."""
    rules = ("0.2.0", "live", "live and best")
    trials = max(1, args.trials // 50)
    lost, refused = dict.fromkeys(rules, 0.0), dict.fromkeys(rules, 0)
    for rule in rules:
        for _ in range(trials):
            images = Images(rng, count, args.accuracy, args.discordant)
            kept, drop = [images.answer()], 0.0
            for _ in range(NIGHTS):
                candidate, best = images.answer(drop + SLIDE), max(kept, key=np.count_nonzero)
                bad = is_below(candidate, kept[-1]) if rule == "0.2.0" else is_worse(candidate, kept[-1])
                bad = bad or (rule == "live and best" and is_worse(candidate, best, LEVEL_OF_BEST))
                refused[rule] += bad
                if not bad:
                    kept, drop = [*kept, candidate][-KEPT:], drop + SLIDE
            lost[rule] += 100 * drop
    return {rule: (lost[rule] / trials, refused[rule] / trials) for rule in rules}


def measure_chance(rng: np.random.Generator, count: int, share: float, gain: float, trials: int) -> dict[str, float]:
    """Returns the share of models that are blessed, whose accuracy is the majority's share plus `gain`."""
    right = rng.binomial(count, share + gain, trials)
    needed = count_needed(share, count)
    margin = min(0.1, (1 - share) / 2)
    return {
        "0.2.0": float((right / count >= share + margin).mean()),
        "interval": float((right >= needed).mean()) if needed else 0.0,
    }


def main() -> None:
    """Prints the tables as Markdown, and all figures as a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=20000)
    parser.add_argument("--accuracy", type=float, default=0.9)
    parser.add_argument("--discordant", type=float, default=0.06)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    figures: dict[str, object] = {"arguments": vars(args)}
    print("| images | worse by | refused by 0.2.0 | by the live version | and the best kept one | best one at 0.05 |")
    print("|---|---|---|---|---|---|")
    for count in SIZES:
        for drop in DROPS:
            found = measure_refusals(rng, count, drop, args)
            figures[f"refused, {count} images, {drop}"] = found
            print(f"| {count:,} | {100 * drop:g} points | " + " | ".join(f"{x:.1%}" for x in found.values()) + " |")
    print(
        f"\n| images | points lost in {NIGHTS} nights, and nights refused: 0.2.0 | live version | and the best kept |"
    )
    print("|---|---|---|---|")
    for count in SIZES:
        slide = measure_slide(rng, count, args)
        figures[f"slide, {count} images"] = slide
        print(f"| {count:,} | " + " | ".join(f"{lost:.1f}, {bad:.1f}" for lost, bad in slide.values()) + " |")
    print("\n| images | majority | above it by | blessed by 0.2.0 | by the interval |")
    print("|---|---|---|---|---|")
    for count in (20, *SIZES):
        for share, gain in ((0.5, 0.0), (0.5, 0.05), (0.5, 0.15), (0.9, 0.0), (0.9, 0.03)):
            chance = measure_chance(rng, count, share, gain, args.trials)
            figures[f"chance, {count} images, {share}, {gain}"] = chance
            shown = " | ".join(f"{x:.1%}" for x in chance.values())
            print(f"| {count:,} | {share:g} | {100 * gain:g} points | {shown} |")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

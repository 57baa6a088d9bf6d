"""Whether the papers' conclusions hold for our runs: claims that one system is better than another.

Each claim names the recipes of two runs. They are compared on the tracks that both were tested on
by McNemar's exact test (see `genrescope.evaluation.significance`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genrescope.evaluation.formatting import NOTHING, escape_markdown, markdown_table
from genrescope.evaluation.run_result import RunResult
from genrescope.evaluation.significance import SIGNIFICANCE, McNemar, mcnemar


@dataclass(frozen=True)
class Claim:
    """A paper's conclusion about two systems.

    Attributes
    ----------
    paper, text
        The paper, and what it concludes.
    better, other
        Recipes of the system that it finds better, and of the one that it is compared with.
    similar
        The paper finds the two similar instead.
    """

    paper: str
    text: str
    better: str
    other: str
    similar: bool = False


def _of_kth() -> Iterator[Claim]:
    segmented = "kth-table4-5-epochs"
    for model in ("cnn", "lstm"):
        name = model.upper()
        yield Claim(
            "kth",
            f"on segments deltas help the {name}",
            f"{segmented}/{model}/mfcc-delta",
            f"{segmented}/{model}/mfcc",
        )
        yield Claim(
            "kth",
            f"on whole clips deltas add little to the {name}",
            f"kth-table3/{model}/mfcc-delta",
            f"kth-table3/{model}/mfcc",
            similar=True,
        )
        for feature in ("mfcc", "mfcc-delta"):
            yield Claim(
                "kth",
                f"segmenting helps the {name} ({feature})",
                f"{segmented}/{model}/{feature}",
                f"kth-table3/{model}/{feature}",
            )
        yield Claim(
            "kth",
            f"the {name} is better than the MLP",
            f"kth-table3/{model}/mfcc",
            "kth-table3/mlp/mfcc",
        )
    yield Claim(
        "kth",
        "with MFCCs alone the LSTM is better than the CNN",
        f"{segmented}/lstm/mfcc",
        f"{segmented}/cnn/mfcc",
    )
    yield Claim(
        "kth",
        "with deltas LSTM and CNN are similar",
        f"{segmented}/lstm/mfcc-delta",
        f"{segmented}/cnn/mfcc-delta",
        similar=True,
    )


def _of_leiden() -> Iterator[Claim]:
    for kind, suffix in (("leiden-table2/mobilenet_v2", "/frozen"), ("leiden-scratch", "")):
        of = "MobileNetV2" if suffix else "a small network"
        for seconds in (10, 5):
            yield Claim(
                "leiden",
                f"whole clean clips beat augmented segments of {seconds} s ({of})",
                f"{kind}/30s-clean{suffix}",
                f"{kind}/{seconds}s-augmented{suffix}",
            )
        yield Claim(
            "leiden",
            f"segments of 10 s are as good as whole clips ({of})",
            f"{kind}/10s-clean{suffix}",
            f"{kind}/30s-clean{suffix}",
            similar=True,
        )
        yield Claim(
            "leiden",
            f"whole clips beat segments of 5 s ({of})",
            f"{kind}/30s-clean{suffix}",
            f"{kind}/5s-clean{suffix}",
        )
    yield Claim(
        "leiden",
        "MobileNetV2 is better than Xception",
        "leiden-table1/mobilenet_v2/frozen",
        "leiden-table1/xception/frozen",
    )


def _of_berkeley() -> Iterator[Claim]:
    for classifier in ("LR", "SVCrbf", "RF"):
        yield Claim(
            "berkeley",
            f"VGGish's embeddings are better than MFCCs ({classifier})",
            f"berkeley-fig6-means/{classifier}",
            f"berkeley-fig6-mfcc/{classifier}",
        )
        yield Claim(
            "berkeley",
            f"PCA helps ({classifier})",
            f"berkeley-fig6-means-pca/{classifier}",
            f"berkeley-fig6-means/{classifier}",
        )
    yield Claim(
        "berkeley",
        "embedding and PCA with SVCrbf are better than the fine-tuned network",
        "berkeley-fig6-pca/SVCrbf",
        "berkeley-fig7",
    )


def _of_deepsound() -> Iterator[Claim]:
    yield Claim(
        "deepsound",
        "VGGish's embeddings are better than MFCCs",
        "deepsound-vggish",
        "deepsound-mfcc",
    )
    yield Claim(
        "deepsound",
        "and on music of another source",
        "deepsound-vggish on emotify-audio",
        "deepsound-mfcc on emotify-audio",
    )


CLAIMS = (*_of_kth(), *_of_leiden(), *_of_berkeley(), *_of_deepsound())


def conclusions(runs: Sequence[RunResult]) -> str:
    """A table of all claims: the two runs, the test, and whether the claim holds here.

    Parameters
    ----------
    runs
        Finished runs; of several of one recipe the one without changed settings is taken.
    """
    of: dict[str, RunResult] = {}
    for run in sorted(runs, key=lambda run: (len(run.command), run.command)):
        if not run.leaked:
            of.setdefault(run.name, run)
    columns = ("Paper", "Its conclusion", "A", "B", "A, %", "B, %", "Only A, only B; p", "Here")
    lines = [list(map(escape_markdown, _line(claim, of))) for claim in CLAIMS]
    return markdown_table(columns, "llllrrll", lines)


def _line(claim: Claim, of: dict[str, RunResult]) -> list[str]:
    a, b = of.get(claim.better), of.get(claim.other)
    head = [claim.paper, claim.text, claim.better, claim.other]
    shown = [NOTHING if run is None else f"{100 * run.accuracy:.1f}" for run in (a, b)]
    if a is None or b is None:
        return [*head, *shown, NOTHING, "not run"]
    test = paired(a, b)
    text = NOTHING
    if test:
        p = "p < 0.001" if test.p < SIGNIFICANCE / 50 else f"p = {test.p:.3f}"
        text = f"{test.only_a}, {test.only_b}; {p}"
    note = " (older recipe)" if a.outdated or b.outdated else ""
    return [*head, *shown, text, f"{verdict(claim, a, b, test)}{note}"]


def paired(a: RunResult, b: RunResult) -> McNemar | None:
    """McNemar's test of two runs; None where their test tracks differ or are unknown."""
    if not a.tested or a.tested != b.tested:
        return None
    return mcnemar([bit == "1" for bit in a.right], [bit == "1" for bit in b.right])


def verdict(claim: Claim, a: RunResult, b: RunResult, test: McNemar | None) -> str:
    """Whether a claim holds, in words.

    Without a test the difference counts as significant where the 95 % intervals of the accuracies
    are apart.
    """
    apart = _apart(a, b) if test is None else test.p < SIGNIFICANCE
    if claim.similar:
        return "differs" if apart else "holds"
    if a.accuracy > b.accuracy:
        return "holds" if apart else "same direction, not significant"
    if a.accuracy == b.accuracy:
        return "no difference"
    return "the opposite" if apart else "other direction, not significant"


def _apart(a: RunResult, b: RunResult) -> bool:
    of_a, of_b = a.interval_percent("accuracy"), b.interval_percent("accuracy")
    if not of_a or not of_b:
        return False
    return of_a[0] > of_b[1] or of_b[0] > of_a[1]

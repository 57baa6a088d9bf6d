"""From labels to genres, styles and "no music": the rules, and the real model on real music."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="noise is made by scipy, of the extra lab")
from negatives import Negative, can_speak, glides, negatives
from tunes import tunes

from genrescope import Bundle, Classifier, Prediction, Waveform
from genrescope.cli.models import note_better_model
from genrescope.evaluation.evaluate import evaluate
from genrescope.examples import SAMPLE_RATE
from genrescope.hub.catalogue import AUDIOSET, audioset_labels, fitted_head, label_head, make_bundle
from genrescope.inference.labels import LabelHead, MusicDetector
from genrescope.library.tags import genre_name
from genrescope.settings import read_settings

NUMBER = {label: number for number, label in enumerate(audioset_labels())}


@pytest.fixture(scope="module")
def head() -> LabelHead:
    fitted = fitted_head()
    return label_head(fitted["offsets"], fitted["music_above"])


def logits(**labels: float) -> np.ndarray:
    """Two segments of labels that are all improbable but for some."""
    values = np.full((2, 527), -8.0, np.float32)
    for label, value in labels.items():
        values[:, NUMBER[label.replace("_", " ")]] = value
    return values


def test_a_genre_is_its_own_label_and_an_offset(head: LabelHead) -> None:
    found = head.genre_logits(logits(Reggae=2.0, Music=3.0))
    names = list(head.genres)
    assert found.shape == (2, len(names))
    assert names[int(found[0].argmax())] == "reggae"
    expected = 2.0 + head.genres["reggae"].offset
    assert found[0, names.index("reggae")] == pytest.approx(expected)


def test_the_likeliest_of_several_labels_counts(head: LabelHead) -> None:
    column = list(head.genres).index("world")
    found = head.genre_logits(logits(Music_of_Asia=1.0, Music_of_Africa=-2.0))
    assert found[0, column] == pytest.approx(1.0 + head.genres["world"].offset)


def test_styles_instruments_and_moods_do_not_exclude_each_other(head: LabelHead) -> None:
    tags = head.read(logits(Music=3.0, Techno=2.0, House_music=1.0, Synthesizer=0.0, Sad_music=0.5))
    assert tags.kind == "music"
    assert list(tags.styles) == ["techno", "house"]
    assert tags.instruments == {"synthesizer": pytest.approx(0.5)}
    assert list(tags.moods) == ["sad"]
    assert tags.styles["techno"] == pytest.approx(1 / (1 + np.exp(-2)))


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ({"Speech": 3.0}, "speech"),
        ({"White_noise": 0.0, "Speech": -2.0}, "noise"),
        ({"Sine_wave": 1.0}, "tone"),
        ({"Silence": 1.0}, "silence"),
        ({"Bird": 2.0}, "animals"),
        ({"Speech": -5.0}, "no music"),
    ],
)
def test_what_is_no_music_gets_a_plain_word(
    head: LabelHead, labels: dict[str, float], kind: str
) -> None:
    tags = head.read(logits(Music=-2.0, Reggae=3.0, **labels))
    assert tags.kind == kind
    assert not tags.styles and not tags.instruments


@pytest.mark.parametrize("music", [-60.0, -2.0, 0.0, 1.0, 60.0])
def test_the_margin_is_above_0_where_there_is_music(head: LabelHead, music: float) -> None:
    found = logits(Music=music)
    assert (head.margin(found) >= 0) == (head.read(found).kind == "music")
    assert np.isfinite(head.margin(found))
    assert head.margin(found + 0.1) >= head.margin(found)


def test_labels_that_the_network_lacks_are_refused(head: LabelHead) -> None:
    fields = head.model_dump()
    with pytest.raises(ValueError, match="expected labels from 0 to 99"):
        LabelHead.model_validate({**fields, "size": 100})


def test_a_detector_needs_as_many_numbers_of_each_sort() -> None:
    fields = {"mean": [0.0], "deviation": [1.0], "weights": [2.0], "bias": -1.0}
    detector = MusicDetector.model_validate({**fields, "music_above": 0.5})
    assert detector.probability(np.array([0.5])) == pytest.approx(0.5)
    assert detector.read(np.array([1.0])).kind == "music"
    assert detector.read(np.array([0.0])).kind == "no music"
    with pytest.raises(ValueError, match="as many means"):
        MusicDetector.model_validate({**fields, "weights": [1.0, 2.0], "music_above": 0.5})


def prediction(**probabilities: float) -> Prediction:
    return Prediction(
        path=None,
        genre=max(probabilities, key=probabilities.__getitem__),
        probabilities=dict(sorted(probabilities.items(), key=lambda item: -item[1])),
        timeline=[],
        embedding=np.zeros(2, np.float32),
        duration=30.0,
        warnings=[],
    )


def test_a_guess_between_two_names_both() -> None:
    assert prediction(rock=0.45, pop=0.35, jazz=0.2).answer == "rock or pop"
    assert prediction(rock=0.55, pop=0.45).answer == "rock"
    assert prediction(rock=0.45, pop=0.15, jazz=0.2, folk=0.2).answer == "rock"
    assert replace(prediction(rock=0.6, pop=0.4), genre=None).answer == "silence"


def test_tags_are_spelt_by_the_taxonomy() -> None:
    names = ("hiphop", "new age", "drum and bass", "jazz", "Spoken")
    spelt = [genre_name(name) for name in names]
    assert spelt == ["Hip-Hop", "New Age", "Drum and Bass", "Jazz", "Spoken"]


def test_that_there_is_a_better_model_is_said_once_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    note_better_model()
    assert not read_settings(), "stderr is no terminal here"
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    note_better_model()
    assert "genrescope models fetch audioset" in " ".join(capsys.readouterr().err.split())
    note_better_model()
    assert not capsys.readouterr().err
    assert read_settings() == {"told_of_audioset": True}


# What is no music


@pytest.fixture(scope="module")
def default() -> Classifier:
    return Classifier.load("default")


@pytest.mark.parametrize(
    "kind", ["noise", pytest.param("tone", marks=pytest.mark.slow), "hum", "silence"]
)
def test_the_default_model_rejects_what_is_no_music(default: Classifier, kind: str) -> None:
    recordings = [n for n in negatives("training", speech=False) if n.kind == kind]
    assert recordings
    found = [default.predict(waveform(recording)) for recording in recordings]
    assert all(p.genre is None and not p.timeline for p in found)
    assert all("cannot tell a genre" in p.warnings[-1] for p in found)


@pytest.mark.slow
def test_the_default_model_rejects_gliding_tones(default: Classifier) -> None:
    """Whole and cut to 3 s; they change all the time, and hold more than one octave."""
    for recording in glides(2):
        whole = waveform(recording)
        short = Waveform(whole.samples[: 3 * whole.sample_rate], whole.sample_rate)
        assert default.predict(whole).genre is None, recording.name
        assert default.predict(short).genre is None, recording.name


@pytest.mark.slow
def test_the_default_model_accepts_simple_tunes(default: Classifier) -> None:
    """Of other seeds than it was fitted on; a lone voice and held chords are often rejected."""
    made = [tune for tune in tunes(1, seed=99) if tune.kind not in ("solo", "pad")]
    assert len(made) == 7
    for tune in made:
        assert default.predict(Waveform(tune.samples, SAMPLE_RATE)).genre is not None, tune.kind


@pytest.mark.skipif(not can_speak(), reason="needs espeak-ng")
def test_the_default_model_rejects_speech_of_languages_it_was_not_fitted_on(
    default: Classifier,
) -> None:
    found = [default.predict(waveform(n)) for n in negatives("test") if n.kind == "speech"]
    assert len(found) == 15
    assert sum(p.genre is not None for p in found) <= 2


def waveform(recording: Negative) -> Waveform:
    return Waveform(recording.samples, recording.rate)


# The real model


@pytest.fixture(scope="module")
def audioset(shared: Path) -> Iterator[Classifier]:
    path = shared / "weights" / "efficientat-mn04" / AUDIOSET.weights.file
    yield Classifier(make_bundle(AUDIOSET, path))


@pytest.mark.shared
def test_known_outputs_of_the_network(audioset: Classifier, shared: Path) -> None:
    path = shared / "data/gtzan-audio/reggae/reggae.00000.flac"
    found = audioset.predict(path)
    assert found.genre == "reggae"
    assert found.labels is not None
    assert found.labels.music == pytest.approx(0.89, abs=0.03)
    assert audioset.predict(path) == found, "bit for bit"
    metal = audioset.predict(shared / "data/gtzan-audio/metal/metal.00000.flac")
    assert metal.genre == "metal"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("folder", "count", "least"), [("gtzan-audio", 51, 0.72), ("emotify-audio", 40, 0.65)]
)
def test_accuracy_as_a_closed_set(
    audioset: Classifier, shared: Path, folder: str, count: int, least: float
) -> None:
    result = evaluate(audioset, shared / "data" / folder, closed_set=True)
    assert result.n == count and not result.left_out, "no music was rejected"
    assert result.scores["accuracy"] >= least


@pytest.mark.shared
def test_the_audioset_model_rejects_all_that_is_no_music(audioset: Classifier) -> None:
    for recording in negatives("test", speech=can_speak()):
        found = audioset.predict(waveform(recording))
        assert found.genre is None, recording.name
        if found.labels is not None:
            assert found.labels.music < 0.3
            if recording.kind == "speech":
                assert found.labels.kind == "speech"


@pytest.mark.shared
def test_an_introduction_of_speech_does_not_change_the_genre(
    audioset: Classifier, shared: Path
) -> None:
    song = audio_of(shared / "data/gtzan-audio/classical/classical.00000.flac")
    noise = np.random.default_rng(0).normal(0, 0.05, 20 * 22050).astype(np.float32)
    whole = Waveform(np.concatenate([noise, song.samples, song.samples]), song.sample_rate)
    assert audioset.predict(whole).genre == audioset.predict(song).genre == "classical"


def audio_of(path: Path) -> Waveform:
    from genrescope.audio import load

    return load(path)


@pytest.mark.shared
def test_a_bundle_of_it_survives_a_round_trip(
    audioset: Classifier, shared: Path, tmp_path: Path
) -> None:
    audioset.bundle.save(tmp_path / "bundle")
    again = Classifier(Bundle.load(tmp_path / "bundle"))
    path = shared / "data/gtzan-audio/jazz/jazz.00000.flac"
    assert again.predict(path) == audioset.predict(path)

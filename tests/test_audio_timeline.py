"""Files whose timestamps or headers are wrong have one time axis: the samples that are decoded."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from clips import music
from genrescope.audio import info, load
from genrescope.audio.mpeg import read_mp3_header
from genrescope.inference import Classifier

RATE = 44100
GAP = 4.0  # seconds
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
FORMS: dict[str, tuple[str, str, dict[str, str]]] = {
    "mka flac": ("matroska", "flac", {}),
    "mka aac": ("matroska", "aac", {}),
    "mka vorbis": ("matroska", "libvorbis", {}),
    "m4a": ("ipod", "aac", {}),
    "mp4 in fragments": ("mp4", "aac", FRAGMENTS),
    "ogg vorbis": ("ogg", "libvorbis", {}),
    "opus": ("ogg", "libopus", {}),
    "wma": ("asf", "wmav2", {}),
    "ts": ("mpegts", "aac", {}),
    "flv": ("flv", "aac", {}),
}


def sound(seconds: float, rate: int = RATE) -> np.ndarray:
    """A sweep, of which no second is like another: float32 [n]."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (220 * t + 60 * t**2))).astype(np.float32)


def encoded(
    samples: np.ndarray, container: str, codec: str, rate: int = RATE, **options: str
) -> bytes:
    file = io.BytesIO()
    if codec == "libvorbis":  # which PyAV lacks
        with soundfile.SoundFile(file, "w", rate, 1, format="OGG", subtype="VORBIS") as ogg:
            for begin in range(0, len(samples), 4096):  # libsndfile crashes on one long write
                ogg.write(samples[begin : begin + 4096])
        data = file.getvalue()
        return data if container == "ogg" else with_gap(data, container, 0.0)
    with av.open(file, "w", format=container, options=options) as out:
        tuning = {"aac_pns": "0"} if codec == "aac" else {}  # which is random
        track = out.add_stream(codec, rate=rate, layout="mono", options=tuning)
        track.bit_rate = 96_000
        to_codec = av.AudioResampler(
            track.codec_context.format, "mono", rate, track.codec_context.frame_size or 4096
        )
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        for piece in [*to_codec.resample(frame), *to_codec.resample(None), None]:
            out.mux([packet for packet in track.encode(piece) if packet.size])
    return file.getvalue()


def with_gap(data: bytes, container: str, seconds: float, **options: str) -> bytes:
    """The same packets, those from second 6 on so many seconds later."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(data)) as source,
        av.open(file, "w", format=container, options=options) as out,
    ):
        stream = source.streams.audio[0]
        track = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if not packet.size or packet.pts is None:
                continue
            if packet.pts * packet.time_base >= 6:
                packet.pts += round(seconds / packet.time_base)
                packet.dts = packet.pts
            packet.stream = track
            out.mux(packet)
    return file.getvalue()


def file_of(form: str, folder: Path, gap: float) -> Path:
    container, codec, options = FORMS[form]
    rate = 48000 if codec == "libopus" else RATE
    data = encoded(sound(14.0, rate), container, codec, rate, **options)
    if gap:
        data = with_gap(data, container, gap, **options)
    path = folder / form
    path.write_bytes(data)
    return path


def check_parts(path: Path, tolerance: float) -> np.ndarray:
    """Check that parts of a file are those of the whole; return that."""
    whole = load(path, sample_rate=None)
    rate = whole.sample_rate
    for offset in (0.5, 5.9, 7.3, 11.0):
        part = load(path, sample_rate=None, offset=offset, duration=1.5).samples
        expected = whole.samples[round(offset * rate) : round((offset + 1.5) * rate)]
        assert len(part) == len(expected)
        np.testing.assert_allclose(part, expected, atol=tolerance)
    assert info(path).duration == pytest.approx(whole.duration, abs=0.12)
    return whole.samples


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_gap_in_the_timestamps_is_no_time(tmp_path: Path, form: str) -> None:
    """A part equals the whole, and the length is that of the sound."""
    warnings: list[str] = []
    path = file_of(form, tmp_path, GAP)
    check_parts(path, 1e-5)
    assert not info(path).seekable
    whole = load(path, warnings=warnings)
    assert whole.duration == pytest.approx(14.0, abs=0.12)
    told = [each for each in warnings if "timestamps" in each]
    assert all("4.0 s" in each for each in told)
    assert warnings == told


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", [form for form in FORMS if form not in ("ts", "flv", "mka vorbis")]
)
def test_without_a_gap_the_decoder_jumps(tmp_path: Path, form: str) -> None:
    path = file_of(form, tmp_path, 0.0)
    assert info(path).seekable
    # Opus forgets slowly what was before the jump.
    check_parts(path, 1e-3 if form == "opus" else 1e-5)


def test_times_too_coarse_for_vorbis_are_not_jumped_to(tmp_path: Path) -> None:
    """Its frames are of two lengths, and Matroska counts milliseconds."""
    path = file_of("mka vorbis", tmp_path, 0.0)
    check_parts(path, 1e-5)
    assert not info(path).seekable


@pytest.mark.slow
@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("ogg", "libvorbis")]
)
def test_a_change_of_the_sample_rate_leaves_no_click(
    tmp_path: Path, container: str, codec: str
) -> None:
    """Parts equal the whole, and the second file's sound is a sine as smooth as the first one's."""
    options = {"write_xing": "0"} if container == "mp3" else {}
    path = tmp_path / "joined"
    joined = b""
    for rate in (44100, 48000, 44100):
        t = np.arange(8 * rate) / rate
        tone = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
        joined += encoded(tone, container, codec, rate, **options)
    path.write_bytes(joined)
    samples = check_parts(path, 1e-5)
    for offset in (14.0, 17.0, 20.5):
        part = load(path, sample_rate=None, offset=offset, duration=2).samples
        first = round(offset * RATE)
        np.testing.assert_allclose(part, samples[first : first + len(part)], atol=1e-5)
    assert len(samples) / RATE == pytest.approx(24.0, abs=0.3)
    second = samples[round(8.5 * RATE) : round(15.5 * RATE)].astype(float)
    # Of a sine the second difference is the sine itself, times a constant.
    step = 2 * np.pi * 440 / RATE
    curve = np.diff(second, 2) + 2 * (1 - np.cos(step)) * second[1:-1]
    assert np.abs(curve).max() < 5e-3


class TestMp3Header:
    """genrescope.audio.mpeg"""

    @pytest.mark.slow
    def test_the_header_of_the_first_of_joined_files_is_not_believed(self, tmp_path: Path) -> None:
        one = encoded(sound(12.0), "mp3", "libmp3lame")
        path = tmp_path / "joined.mp3"
        path.write_bytes(one + one + one)
        assert info(path).duration == pytest.approx(36.0, abs=0.3)
        assert not info(path).seekable
        whole = load(path, sample_rate=None)
        assert whole.duration == pytest.approx(36.0, abs=0.3)
        part = load(path, sample_rate=None, offset=30.0, duration=2.0).samples
        first = 30 * RATE
        np.testing.assert_allclose(part, whole.samples[first : first + len(part)], atol=1e-5)

    @pytest.mark.parametrize("listen", ["auto", 60.0])
    @pytest.mark.slow
    def test_all_of_it_is_read(self, tmp_path: Path, listen: object) -> None:
        """The first file is silence: what was read of the others decides."""
        silence = encoded(np.zeros(20 * RATE, np.float32), "mp3", "libmp3lame")
        song = encoded(music(40.0, rate=RATE), "mp3", "libmp3lame")
        path = tmp_path / "joined.mp3"
        path.write_bytes(silence + song + song)
        prediction = Classifier.load().predict(path, listen=listen)
        assert prediction.genre is not None
        assert prediction.duration == pytest.approx(100.0, abs=0.5)

    @pytest.mark.parametrize(
        "behind",
        [b"", bytes(5_000_000), b"TAG" + bytes(125), b"APETAGEX" + bytes(range(256)) * 900],
        ids=["nothing", "padding", "ID3v1", "APEv2"],
    )
    def test_tags_and_padding_behind_the_music_are_none(
        self, tmp_path: Path, behind: bytes
    ) -> None:
        data = encoded(sound(6.0), "mp3", "libmp3lame") + behind
        header = read_mp3_header(io.BytesIO(data), len(data))
        assert header.is_whole
        path = tmp_path / "one.mp3"
        path.write_bytes(data)
        assert info(path).seekable
        assert info(path).duration == pytest.approx(6.0, abs=0.1)

    @pytest.mark.slow
    def test_without_a_header_the_length_is_counted(self, tmp_path: Path) -> None:
        """Where the bit rate changes, it can't be told from the file's size."""
        path = tmp_path / "plain.mp3"
        quiet = encoded(np.zeros(20 * RATE, np.float32), "mp3", "libmp3lame", write_xing="0")
        path.write_bytes(quiet[: len(quiet) // 2] + quiet)
        assert read_mp3_header(io.BytesIO(path.read_bytes()), len(quiet)).frames is None
        whole = load(path, sample_rate=None)
        assert info(path).duration == pytest.approx(whole.duration, abs=0.06)

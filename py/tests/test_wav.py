"""WAV files: the formats we read, and the lies we see through."""

import io
import struct
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral.errors import AudioError
from voxtral.wav import Sound, is_wav, read_wav

NAME = 'my "file" $(x) ü.wav'


def chunk(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def fmt(
    codec: int = 1, n_channels: int = 1, rate: int = 16000, bits: int = 16, frame_bytes: int | None = None
) -> bytes:
    frame_bytes = n_channels * bits // 8 if frame_bytes is None else frame_bytes
    byte_rate = rate * frame_bytes & 0xFFFFFFFF
    return chunk(b"fmt ", struct.pack("<HHIIHH", codec, n_channels, rate, byte_rate, frame_bytes, bits))


def riff(*chunks: bytes, container: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return container + struct.pack("<I", len(body) if size is None else size) + body


def ramp(n: int) -> np.ndarray:
    return np.linspace(-32768, 32767, n).astype("<i2")


SAMPLES = ramp(16000)
RAW = SAMPLES.tobytes()


def assert_reads(data: bytes, expected: np.ndarray = SAMPLES, notice: str | None = None) -> None:
    """Mono 16-bit samples, and one notice or none."""
    sound = read_wav(data, NAME)
    np.testing.assert_array_equal(sound.channels, expected[None].astype(np.float32) / 32768)
    assert sound.channels.dtype == np.float32
    assert sound.sample_rate == 16000
    if notice is None:
        assert sound.notices == []
    else:
        assert len(sound.notices) == 1
        assert sound.notices[0].startswith(NAME + ": ")
        assert notice in sound.notices[0]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("n_channels", [1, 2, 6])
def test_formats_are_read_as_libsndfile_reads_them(subtype: str, container: str, n_channels: int) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (777, n_channels))
    file = io.BytesIO()
    soundfile.write(file, sound, 22050, subtype, format=container)
    expected, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)
    result = read_wav(file.getvalue(), NAME)
    np.testing.assert_array_equal(result.channels, expected.T)
    assert result.channels.flags.c_contiguous
    assert (result.sample_rate, result.notices) == (22050, [])


def test_full_scale() -> None:
    sound = read_wav(riff(fmt(), chunk(b"data", struct.pack("<3h", -32768, 0, 16384))), NAME)
    assert sound.channels.tolist() == [[-1, 0, 0.5]]
    eight = read_wav(riff(fmt(bits=8), chunk(b"data", bytes([0, 128, 192]))), NAME)
    assert eight.channels.tolist() == [[-1, 0, 0.5]]


def test_files_of_the_standard_library() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16000, 0, "NONE", ""))
        writer.writeframes(RAW)
    assert_reads(file.getvalue())


def test_narrow_samples_fill_the_high_bits_of_a_wider_container() -> None:
    data = riff(fmt(bits=20, frame_bytes=3), chunk(b"data", bytes([0, 0, 0x40, 0, 0, 0xC0])))
    assert read_wav(data, NAME).channels.tolist() == [[0.5, -0.5]]
    extensible = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16000, 64000, 4, 24, 22, 24, 4) + struct.pack("<H", 1) + bytes(14)
    data = riff(chunk(b"fmt ", extensible), chunk(b"data", struct.pack("<2i", 2**30, -(2**31))))
    assert read_wav(data, NAME).channels.tolist() == [[0.5, -1]]


def test_other_chunks_are_stepped_over() -> None:
    odd = chunk(b"LIST", b"odd")
    assert_reads(riff(odd, chunk(b"JUNK", bytes(28)), fmt(), odd, chunk(b"fact", bytes(4)), chunk(b"data", RAW), odd))
    assert_reads(riff(chunk(b"xyz ", b"12345"), fmt(), chunk(b"data", RAW)))
    unpadded = b"LIST" + struct.pack("<I", 3) + b"odd"
    assert_reads(riff(fmt(), unpadded, chunk(b"data", RAW)))
    assert_reads(riff(chunk(b"data", RAW), fmt()))  # the wrong way round
    assert_reads(riff(fmt(), chunk(b"data", RAW), size=7))  # the outer size is never needed


def test_sizes_that_lie() -> None:
    three_hours = 3 * 3600 * 32000
    assert_reads(riff(fmt(), chunk(b"data", RAW, three_hours)), notice="claims 10800.00 s of sound; the 1.00 s")
    assert_reads(riff(fmt(), chunk(b"data", RAW, 0xFFFFFFFF)), notice="does not say how long it is; 1.00 s were found")
    assert_reads(riff(fmt(), chunk(b"data", RAW, 0)), notice="claims no samples; the 1.00 s after it")
    assert_reads(riff(fmt(), chunk(b"data", RAW))[:-16000], SAMPLES[:8000], "claims 1.00 s of sound; the 0.50 s")
    assert_reads(riff(fmt(), chunk(b"data", RAW, 16000)), SAMPLES[:8000])  # a shorter claim is believed


def test_rf64_keeps_its_size_elsewhere() -> None:
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(RAW), len(SAMPLES), 0))
    data = chunk(b"data", RAW, 0xFFFFFFFF)
    for container in (b"RF64", b"BW64"):
        assert_reads(riff(ds64, fmt(), data, chunk(b"LIST", b"tail"), container=container))
        assert_reads(riff(fmt(), data, container=container), notice="does not say how long")


def test_a_cut_last_sample_is_left_out() -> None:
    assert_reads(riff(fmt(), chunk(b"data", RAW[:-1])), SAMPLES[:-1], "its last sample is cut off")
    stereo = riff(fmt(n_channels=2), chunk(b"data", RAW[:10]))
    assert read_wav(stereo, NAME).channels.shape == (2, 2)


EMPTY_LIST = chunk(b"LIST", b"INFO")
BAD = {
    "empty": (b"", "found an empty file"),
    "text": (b"Hello, this is no sound.", "begins with the text “Hello, this”"),
    "short text": (b"Hi", "begins with the text “Hi”"),
    "binary": (b"OggS\0\2\0\0", "begins with the bytes 4f 67 67 53 00 02 00 00;"),
    "text in another alphabet": ("Прив".encode(), "begins with the bytes d0 9f d1 80"),
    "another RIFF": (b"RIFF\x04\0\0\0AVI ", "expected a WAV file"),
    "cut in the header": (riff(fmt(), chunk(b"data", RAW))[:10], "expected a WAV file"),
    "only the outer header": (riff(), "'fmt ' chunk that describes the samples, found none"),
    "no format": (riff(chunk(b"data", RAW)), "'fmt ' chunk that describes the samples, found none"),
    "short format": (riff(chunk(b"fmt ", bytes(8)), chunk(b"data", RAW)), "at least 16 bytes, found 8"),
    "no data chunk": (riff(fmt()), "found only a header of 36 bytes"),
    "no samples": (riff(fmt(), chunk(b"data", b"")), "header without samples"),
    "no samples, other chunk": (riff(fmt(), chunk(b"data", b""), EMPTY_LIST), "header without samples"),
    "claimed but absent": (riff(fmt(), chunk(b"data", b"", 32000)), "header without samples"),
    "unknown and absent": (riff(fmt(), chunk(b"data", b"", 0xFFFFFFFF)), "header without samples"),
    "half a sample": (riff(fmt(), chunk(b"data", b"x")), "header without samples"),
    "no rate": (riff(fmt(rate=0), chunk(b"data", RAW)), "found 0 in its header"),
    "no channels": (riff(fmt(n_channels=0), chunk(b"data", RAW)), "at least 1 channel, found 0"),
    "A-law": (riff(fmt(6, bits=8), chunk(b"data", RAW)), "found A-law of 8 bits"),
    "MP3": (riff(fmt(0x55, bits=0), chunk(b"data", RAW)), "found MP3"),
    "unnamed codec": (riff(fmt(0x1234), chunk(b"data", RAW)), "found codec number 4660"),
    "no bits": (riff(fmt(bits=0), chunk(b"data", RAW)), "found PCM of 0 bits"),
    "64 bits": (riff(fmt(bits=64), chunk(b"data", RAW)), "found PCM of 64 bits"),
    "half floats": (riff(fmt(3, bits=16), chunk(b"data", RAW)), "found float of 16 bits"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_holds_no_sound_is_one_sentence(kind: str) -> None:
    data, sentence = BAD[kind]
    with pytest.raises(AudioError) as error:
        read_wav(data, NAME)
    assert str(error.value).startswith(NAME + ": ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_is_wav() -> None:
    assert is_wav(riff())
    assert is_wav(riff(container=b"RF64"))
    assert not is_wav(b"OggS" + bytes(99))
    assert not is_wav(b"")


def test_floats_beyond_single_precision_are_infinite_and_silent_about_it() -> None:
    data = riff(fmt(3, bits=64), chunk(b"data", np.array([1e300, np.nan, 0.5]).tobytes()))
    np.testing.assert_array_equal(read_wav(data, NAME).channels, [[np.inf, np.nan, 0.5]])


def read_or_refuse(data: bytes) -> None:
    try:
        sound = read_wav(data, NAME)
    except AudioError:
        return
    assert isinstance(sound, Sound)
    n_channels, n_samples = sound.channels.shape
    assert 0 < n_channels * n_samples <= len(data)
    assert sound.sample_rate > 0


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_read_or_refused(data: bytes, with_magic: bool) -> None:
    read_or_refuse(b"RIFF\xff\xff\xff\xffWAVE" + data if with_magic else data)


CHUNKS = st.lists(
    st.builds(
        chunk,
        st.sampled_from([b"fmt ", b"data", b"LIST", b"ds64"]),
        st.binary(max_size=60) | st.just(fmt()[8:]) | st.just(fmt(3, 2, 48000, 32)[8:]),
        st.none() | st.integers(0, 2**32 - 1),
    ),
    max_size=5,
)


@settings(deadline=None, max_examples=300)
@given(CHUNKS, st.sampled_from([b"RIFF", b"RF64"]), st.integers(0, 60))
def test_random_chunks_are_read_or_refused(chunks: list[bytes], container: bytes, n_cut: int) -> None:
    data = riff(*chunks, container=container)
    read_or_refuse(data[: len(data) - n_cut])


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 47), st.integers(0, 7)), min_size=1, max_size=5), st.integers(0, 148))
def test_flipped_bits_are_read_or_refused(flips: list[tuple[int, int]], n_bytes: int) -> None:
    data = bytearray(riff(fmt(), chunk(b"data", RAW[:100])))
    for position, bit in flips:
        data[position] ^= 1 << bit
    read_or_refuse(bytes(data[:n_bytes]))

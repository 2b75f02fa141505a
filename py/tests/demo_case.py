"""The demo network and one clip, as a plain function, for CPython and for Python inside the browser."""

from pathlib import Path

from voxtral.config import StreamingConfig
from voxtral.model.layers import AnyOps
from voxtral.model.voxtral import Voxtral
from voxtral.shards import MemorySource, ShardedCursor
from voxtral.tekken import Tekken
from voxtral.transcription import Transcription
from voxtral.wav import read_wav

MODEL = "static/model/voxtral-demo-q4_0.gguf"
TEKKEN = "static/model/tekken.json"
CLIP = "static/samples/digits_1.wav"
SPOKEN = "one four one seven"  # as in static/samples/transcripts.tsv


async def transcribe_clip(ops: AnyOps, root: Path) -> str:
    """What the network hears; root: the folder below which the three files lie."""
    model = await Voxtral.load(ops, ShardedCursor([MemorySource((root / MODEL).read_bytes(), MODEL)]))
    tekken = Tekken.from_json((root / TEKKEN).read_bytes(), TEKKEN)
    transcription = Transcription(model, tekken, StreamingConfig())
    (samples,) = read_wav((root / CLIP).read_bytes(), CLIP).channels
    await transcription.feed(samples)
    await transcription.finish()
    return transcription.result(CLIP, 0.0).text

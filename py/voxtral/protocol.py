"""Messages between the page and the worker; `app/protocol.js` is the mirror, and a test compares them.

Every message is a plain object with `type` and exactly the fields below. Units are in the names.
`session` is a number the page chooses, one for each recording or file; answers carry it back.
The page transfers ArrayBuffers and ports; it never sends Python anything else but plain values.
"""

from typing import Final

REQUESTS: Final[dict[str, tuple[str, ...]]] = {
    # model_url: .gguf or folder with a manifest.json, absolute (a blob worker knows no page to start from);
    # backend: "webgpu", "numpy" or null for the best there is; the numbers: null for the defaults
    "load": ("model_url", "backend", "delay_ms", "left_pad_tokens"),
    # port: MessagePort on which mono Float32Array blocks arrive, an empty one last; sample_rate: theirs, in Hz
    "listen": ("session", "port", "sample_rate"),
    "stop": ("session",),
    # either bytes (ArrayBuffer of a file we decode: WAV) or channels (array of Float32Array), the other null
    "transcribe": ("session", "name", "bytes", "channels", "sample_rate"),
    "cancel": ("session",),
    # effort: how thoroughly to measure, a name in bench/effort.py or null for what suits the device
    "bench": ("session", "effort"),
}

EVENTS: Final[dict[str, tuple[str, ...]]] = {
    # state: loading, ready, listening, transcribing, failed
    "state": ("state",),
    # stage: weights (bytes on their way to the device), memory (bytes of all else there), gpu (programs compiled),
    # warmup (tokens of the silent prefix)
    "progress": ("stage", "done", "total"),
    # backend: webgpu or numpy; adapter: name for people; is_software: the GPU here is a CPU pretending (numpy is
    # faster then, and taken unless webgpu was asked for); vocabulary: list of words, or null for an open one
    # replaced: kernels that compute nonsense on this GPU, a sentence each
    "ready": (
        "backend",
        "adapter",
        "is_software",
        "replaced",
        "model",
        "description",
        "vocabulary",
        "delay_ms",
        "left_pad_tokens",
    ),
    # no model was loaded, nothing of it is kept, and another `load` may follow; can_insist: with backend "webgpu" it
    # would be, only far too slow
    "refused": ("sentence", "can_insist"),
    # text: what to append to the transcript; words: those now complete, {text, start, end} in seconds
    "words": ("session", "text", "words"),
    # heard_s: audio turned into text so far; waiting_s: audio received, not yet computed; total_s: null when live
    "heard": ("session", "heard_s", "waiting_s", "total_s"),
    # something worth one sentence that did not stop the work
    "notice": ("session", "sentence"),
    # what a bench measures now, for people
    "measuring": ("session", "what"),
    # result: {file, text, words, audio_s, wall_s, rtf, tokens}, or the report of a bench (bench/report.py)
    "done": ("session", "result"),
    "cancelled": ("session",),
    # session is null when no session is concerned; fatal: the worker cannot go on
    "error": ("session", "sentence", "fatal"),
}

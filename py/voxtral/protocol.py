"""Messages between the page and the worker; `app/protocol.js` is the mirror, and a test compares them.

Every message is a plain object with `type` and exactly the fields below. Units are in the names.
`session` is a number the page chooses, one for each recording or file; answers carry it back.
The page transfers ArrayBuffers and ports; it never sends Python anything else but plain values.
"""

from typing import Final

REQUESTS: Final[dict[str, tuple[str, ...]]] = {
    # model_url: a source (sources.py), addresses absolute (a blob worker knows no page to start from), or "stored:KEY",
    # or null for the File objects in files; a model that is loaded and idle makes room for it;
    # backend: "webgpu", "numpy" or null for the best there is; the numbers: null for the defaults
    "load": ("model_url", "files", "backend", "delay_ms", "left_pad_tokens"),
    # port: MessagePort on which mono Float32Array blocks arrive, an empty one last; sample_rate: theirs, in Hz
    # is_live: someone speaks now; else total_s of a file come as they are asked for by `heard`, a minute ahead of it
    # start_s: where on the recording's clock the first block begins; total_s: its end, or null when live
    # delay_ms: null for the model's; has_second_pass: passages that are over are heard again with more delay
    "listen": (
        "session",
        "name",
        "port",
        "sample_rate",
        "is_live",
        "start_s",
        "total_s",
        "delay_ms",
        "has_second_pass",
    ),
    "stop": ("session",),
    # bytes: ArrayBuffer of a WAV file, which Python reads better than browsers do
    "transcribe": ("session", "name", "bytes", "delay_ms"),
    "cancel": ("session",),
    # make the next recording with this delay begin at once, when there is nothing else to do
    "prepare": ("delay_ms",),
    # document: a transcript (document.py); format: txt, srt, vtt or json; limits: of subtitles (subtitles.py), or null
    # answered by `rendered` with the same id
    "render": ("id", "document", "format", "limits"),
    # answered by `inspected`
    "inspect": (),
    # effort: how thoroughly to measure, a name in bench/effort.py or null for what suits the device
    "bench": ("session", "effort"),
    # files of a folder, name: what to call it in sentences: [{path, text}], text null but for tables of transcripts
    # (accuracy/sets.py)
    # answered by `set_read` with the same id
    "read_set": ("id", "name", "files"),
    # texts: JSON of one or two reports (accuracy/report.py), names: what to call them in sentences
    # answered by `reports_read` with the same id
    "read_reports": ("id", "names", "texts"),
    # hear a set: entries of a `set_read`, condition: accuracy/conditions.py, normalizer: a name in
    # accuracy/normalization.py, modules: {path: address} of what accuracy/modules.py is to bring; answered by a
    # `clip_wanted` for each clip, and in the end by `done`, which has a report
    "measure": ("session", "set_name", "entries", "condition", "normalizer", "modules"),
    # samples: ArrayBuffer of the clip that was wanted, mono float32 at 16 kHz, or null and a reason why there is none
    "clip": ("session", "id", "samples", "reason"),
    # no further clip: the report is of those heard so far
    "end_measure": ("session",),
    # what there is to load: answered by `models`, as is each request below once it has changed that
    # server: address of the folder of models that the page's own server may offer, or null
    "list_models": ("server",),
    # keep a model: source is where its files lie (sources.py), or null for the File objects in files;
    # a download that was paused or broke off goes on
    "fetch": ("source", "files"),
    "pause": ("key",),
    # stop a download and delete what has come
    "discard": ("key",),
    "verify": ("key",),
    "delete": ("key",),
    # answered by `exported`
    "export": ("key",),
}

EVENTS: Final[dict[str, tuple[str, ...]]] = {
    # state: loading, ready, listening, transcribing, recovering (the GPU went away; its model is loaded again), failed
    "state": ("state",),
    # stage: weights (bytes on their way to the device), memory (bytes of all else there), gpu (programs compiled)
    "progress": ("stage", "done", "total"),
    # backend: webgpu or numpy; adapter: name for people; is_software: the GPU here is a CPU pretending (numpy is
    # faster then, and taken unless webgpu was asked for); vocabulary: list of words, or null for an open one
    # replaced: kernels that compute nonsense on this GPU, a sentence each; weights_bytes in weights_s: from where they
    # lay to the device
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
        "weights_bytes",
        "weights_s",
    ),
    # no model was loaded, nothing of it is kept, and another `load` may follow; can_insist: with backend "webgpu" it
    # would be, only far too slow
    "refused": ("sentence", "can_insist"),
    # text: what to append to the transcript; words: those now complete, decoding.Word.as_dict(), times in seconds
    "words": ("session", "text", "words"),
    # words first … first + n_replaced - 1 of the session, counted from 0, are `words` now
    # reason: careful (heard again with more delay), continued (a word went on after a pause), or restart (a loop is
    # taken back: text of words that were not complete is gone, too); comes before text and words of its time
    "revised": ("session", "first", "n_replaced", "words", "reason"),
    # heard_s: audio turned into text so far; waiting_s: audio received, not yet computed; total_s: null when live
    "heard": ("session", "heard_s", "waiting_s", "total_s"),
    # something worth one sentence that did not stop the work
    "notice": ("session", "sentence"),
    # what a bench measures now, for people
    "measuring": ("session", "what"),
    # the page is to send a clip of a set; the next one while this one is heard
    "clip_wanted": ("session", "id"),
    # clip: as in the report (accuracy/report.py), or null and the reason for a clip that cannot be heard
    "clip_heard": ("session", "id", "clip", "reason", "n_heard", "n_clips"),
    # result: {file, text, words, audio_s, wall_s, rtf, tokens}, the report of a bench (bench/report.py) or of a set
    # (accuracy/report.py)
    "done": ("session", "result"),
    "cancelled": ("session",),
    # stored: [{key, title, source, n_bytes, total_bytes, is_whole, is_active, saved_at}], saved_at in ms since 1970;
    # offered: [{title, source, n_bytes}] by the page's server; quota_bytes, used_bytes: of this site's storage, or null
    "models": ("stored", "offered", "quota_bytes", "used_bytes"),
    # stage: waiting (another tab is at it), listing, download, verify; bytes_per_s, seconds_left: null while unknown
    "fetching": ("key", "title", "stage", "done", "total", "bytes_per_s", "seconds_left"),
    # the model is whole and verified
    "fetched": ("key",),
    # what came is kept; can_stream: it would fit the GPU without being stored
    "fetch_failed": ("key", "source", "sentence", "can_stream"),
    # problems: a sentence for each damaged file, which is then fetched again by `fetch`
    "verified": ("key", "problems"),
    # files: [{name, blob}], a Blob that lies on the disk
    "exported": ("key", "files"),
    # content: the text, or null and a sentence why there is none
    "rendered": ("id", "content", "sentence"),
    # entries: of accuracy/sets.py, in order; notices: sentences; or null and a sentence why it is no set
    "set_read": ("id", "entries", "notices", "sentence"),
    # reports: with their summaries made anew; comparison: the second less the first (accuracy/summary.py), null for one
    # report; or null and a sentence why one is none
    "reports_read": ("id", "reports", "comparison", "sentence"),
    # memory: Python's heap, ArrayBuffers of loading, buffers on the GPU
    "inspected": ("heap_bytes", "loader_bytes", "gpu_bytes"),
    # session is null when no session is concerned; fatal: the worker cannot go on
    "error": ("session", "sentence", "fatal"),
}

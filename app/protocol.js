/**
 * Messages between the page and the worker: the mirror of py/voxtral/protocol.py, which explains the
 * fields. py/tests/test_protocol.py compares the two tables, so keep them plain JSON.
 */

export const REQUESTS = {
  "load": ["model_url", "files", "backend", "delay_ms", "left_pad_tokens"],
  "listen": [
    "session", "name", "port", "sample_rate", "is_live", "start_s", "total_s", "delay_ms", "has_second_pass"
  ],
  "stop": ["session"],
  "transcribe": ["session", "name", "bytes", "delay_ms"],
  "cancel": ["session"],
  "prepare": ["delay_ms"],
  "render": ["id", "document", "format", "limits"],
  "inspect": [],
  "bench": ["session", "effort"],
  "read_set": ["id", "name", "files"],
  "read_reports": ["id", "names", "texts"],
  "measure": ["session", "set_name", "entries", "condition", "normalizer", "modules"],
  "clip": ["session", "id", "samples", "reason"],
  "end_measure": ["session"],
  "list_models": ["server"],
  "fetch": ["source", "files"],
  "pause": ["key"],
  "discard": ["key"],
  "verify": ["key"],
  "delete": ["key"],
  "export": ["key"]
};

export const EVENTS = {
  "state": ["state"],
  "progress": ["stage", "done", "total"],
  "ready": [
    "backend", "adapter", "is_software", "replaced", "model", "description", "vocabulary", "delay_ms", "left_pad_tokens",
    "weights_bytes", "weights_s"
  ],
  "refused": ["sentence", "can_insist"],
  "words": ["session", "text", "words"],
  "revised": ["session", "first", "n_replaced", "words", "reason"],
  "heard": ["session", "heard_s", "waiting_s", "total_s"],
  "notice": ["session", "sentence"],
  "measuring": ["session", "what"],
  "clip_wanted": ["session", "id"],
  "clip_heard": ["session", "id", "clip", "reason", "n_heard", "n_clips"],
  "done": ["session", "result"],
  "cancelled": ["session"],
  "models": ["stored", "offered", "quota_bytes", "used_bytes"],
  "fetching": ["key", "title", "stage", "done", "total", "bytes_per_s", "seconds_left"],
  "fetched": ["key"],
  "fetch_failed": ["key", "source", "sentence", "can_stream"],
  "verified": ["key", "problems"],
  "exported": ["key", "files"],
  "rendered": ["id", "content", "sentence"],
  "set_read": ["id", "entries", "notices", "sentence"],
  "reports_read": ["id", "reports", "comparison", "sentence"],
  "inspected": ["heap_bytes", "loader_bytes", "gpu_bytes"],
  "error": ["session", "sentence", "fatal"]
};

const hasExactly = (message, fields) =>
  Object.keys(message).length === fields.length + 1 && fields.every((field) => field in message);

/** A request with exactly the fields its type has; anything else is a mistake in this page. */
export function request(type, fields) {
  const message = { type, ...fields };
  if (!(type in REQUESTS) || !hasExactly(message, REQUESTS[type])) {
    throw new TypeError(`request “${type}” takes the fields ${REQUESTS[type]}, got ${Object.keys(fields)}`);
  }
  return message;
}

/** Whether something the worker posted is one of our events; PyScript posts messages of its own. */
export function isEvent(data) {
  return typeof data?.type === "string" && data.type in EVENTS && hasExactly(data, EVENTS[data.type]);
}

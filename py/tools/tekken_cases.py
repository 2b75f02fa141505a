"""Records sentences of the model's languages as tokens of Mistral's own vocabulary, for py/tests/test_languages.py.

    python py/tools/tekken_cases.py mistral_common-1.13.1-py3-none-any.whl

Needs tiktoken, and the wheel from PyPI (Apache-2.0), of which it reads the tokenizer alone: 19 MB, of which the record
keeps the pieces that the sentences need.
"""

import base64
import hashlib
import json
import sys
import zipfile
from pathlib import Path

import tiktoken  # type: ignore[import-not-found, unused-ignore]

RECORD = Path(__file__).parents[1] / "tests" / "golden" / "languages.json"
MEMBER = "mistral_common/data/tekken_240911.json"
N_SPECIAL_TOKENS = 1000

# Words as a person would point at them, "" between them where the language writes no space.
SENTENCES = {
    "ar": "مرحبًا، كيف حالكَ اليوم؟ الطقسُ جميلٌ جدًّا.",
    "de": "Größenverhältnisse überprüfen wir „ganz genau“, bevor es weitergeht.",
    "en": "I don't think so, but well-known counterexamples aren't out of reach.",
    "es": "¿Dónde está la niña? ¡Qué sorpresa tan agradable!",
    "fr": "Ça va\u202f? L’été dernier, j’ai gagné 10\u202f000 € à la fête\u00a0!",
    "hi": "नमस्ते, आप कैसे हैं? क्षत्रिय विद्यार्थियों ने श्रृंखला पढ़ी।",
    "it": "Perché non c'è più nessuno? È già così tardi!",
    "nl": "Zo'n geïnteresseerde coördinator heb ik 's ochtends zelden gezien.",
    "pt": "Não há razão para preocupação; amanhã começaremos às três.",
    "zh": "你|好，|世界！|我们|正在|学习|Python|编程。|龘|字|很|少见。",
    "ja": "こん|にちは、|世界。|パーティー|は|とても|楽しかった|です。|「はい」|と|言った。",
    "ko": "안녕하세요, 저는 학생입니다. 오늘 날씨가 참 좋네요!",
    "ru": "Привет! Сегодня мы обсуждаем достопримечательности Санкт-Петербурга.",
}  # "|": where speech makes the model put a marker in scripts without spaces


def main() -> None:
    wheel = Path(sys.argv[1])
    tokenizer = json.loads(zipfile.ZipFile(wheel).read(MEMBER))
    n_used = tokenizer["config"]["default_vocab_size"] - N_SPECIAL_TOKENS
    pieces = [base64.b64decode(entry["token_bytes"]) for entry in tokenizer["vocab"][:n_used]]
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    pattern = tokenizer["config"]["pattern"]
    encoding = tiktoken.Encoding("tekken", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    cases = {}
    for language, sentence in SENTENCES.items():
        chunks = sentence.split("|") if "|" in sentence else [f" {word}" for word in sentence.split(" ")]
        if "|" in sentence:
            chunks[0] = f" {chunks[0]}"
        tokens = [[N_SPECIAL_TOKENS + rank for rank in encoding.encode(chunk)] for chunk in chunks]
        words = [chunk.removeprefix(" ") for chunk in chunks]
        cases[language] = {"text": sentence.replace("|", ""), "words": words, "tokens": tokens}
    used = sorted({token for case in cases.values() for word in case["tokens"] for token in word})
    record = {
        "source": f"{wheel.name}, sha256 {hashlib.sha256(wheel.read_bytes()).hexdigest()}, {MEMBER}, Apache-2.0",
        "n_vocab": N_SPECIAL_TOKENS + n_used,
        "pieces": {token: base64.b64encode(pieces[token - N_SPECIAL_TOKENS]).decode() for token in used},
        "sentences": cases,
    }
    text = json.dumps(record, ensure_ascii=False).replace("}, ", "},\n")
    RECORD.write_text(text + "\n")
    print(f"{RECORD}: {len(used)} pieces")


main()

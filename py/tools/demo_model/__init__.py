"""The recipe of the demo model: from recordings and synthetic voices to static/model, with one command.

    configuration  all numbers
    vocabulary     the words, the grammar of the orders, the tokenizer
    voices         what the synthetic voices say, and the pack of it
    synthesizers   three speech synthesizers behind one face
    accents        English as speakers of other languages say it
    other_speech   what is said besides the vocabulary
    recordings     sound and table of a pack, and the clips in it
    alignment      where every word of a clip ends
    chains         what the aligner learns from
    aligner        its network
    forced_path    the likeliest way through its frames
    scenes         which clips are heard when, and what should be written about them
    augmentation   scenes as mel frames: rooms, noise, levels, microphones
    network        the model, as torch computes it
    training       the loop
    checkpoint     the trained network as safetensors and Q4_0 GGUF
    evaluation     its figures

`python -m tools.demo_model DATA OUT` runs every stage whose result is not there yet. It needs torch, safetensors,
soundfile and jiwer, and the Debian packages that synthesizers.py and other_speech.py name.
"""

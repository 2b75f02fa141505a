"""The commands that deal with model files: fetch, convert, split, join, manifest, inspect, make-random."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxtral.checkpoint_source import as_gguf
from voxtral.convert import MATRIX_TYPES, convert
from voxtral.errors import ConfigError, ModelFileError
from voxtral.gguf import GgufIndex, read_index
from voxtral.model_files import check_files, join, split, write_manifest
from voxtral.model_path import open_model_files
from voxtral.native_files import fetch_model
from voxtral.quant import type_name
from voxtral.random_model import PRESETS, TYPES, make_random
from voxtral.safetensors import Checkpoint, is_checkpoint, open_checkpoint
from voxtral.terminal import Progress, say
from voxtral.weights import check, read_config


def add_model_commands(commands: Any) -> None:
    """Give each its parser; `command` of what they parse is the function to call, or coroutine function."""
    fetch = commands.add_parser("fetch", help="bring a model's files into a folder")
    fetch.add_argument("folder", type=Path, metavar="DIR", help="what is there already is not fetched again")
    fetch.add_argument(
        "--from",
        dest="source",
        default="hub",
        metavar="SOURCE",
        help="hub (the default), hub:OWNER/REPO, or an address of a folder or a .gguf file",
    )
    fetch.add_argument("--connections", type=int, default=3, metavar="N", help="1…4 at a time")
    fetch.set_defaults(command=_fetch)

    convert_ = commands.add_parser("convert", help="make a .gguf file of a checkpoint in safetensors")
    convert_.add_argument(
        "checkpoint", type=Path, metavar="IN.safetensors|DIR", help="beside its params.json or config.json"
    )
    convert_.add_argument("out", type=Path, metavar="OUT.gguf", help="a new file")
    convert_.add_argument(
        "--type", choices=MATRIX_TYPES, default="q4_0", help="of its matrices; this engine runs all but q8_0"
    )
    convert_.set_defaults(command=_convert)

    split_ = commands.add_parser("split", help="cut a .gguf file into shards")
    split_.add_argument("model", type=Path, metavar="M.gguf")
    split_.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty folder, or a new one")
    _add_shard_size(split_)
    split_.set_defaults(command=_split)

    join_ = commands.add_parser("join", help="put a folder's shards together")
    join_.add_argument("folder", type=Path, metavar="DIR")
    join_.add_argument("--out", type=Path, required=True, metavar="M.gguf", help="a new file")
    join_.set_defaults(command=_join)

    manifest = commands.add_parser("manifest", help="list a model's files with their SHA-256 in manifest.json")
    manifest.add_argument("folder", type=Path, metavar="DIR")
    manifest.add_argument("--check", action="store_true", help="compare them with the list that is there instead")
    manifest.set_defaults(command=_manifest)

    inspect = commands.add_parser("inspect", help="what a model file holds")
    inspect.add_argument("model", type=Path, metavar="M.gguf|DIR|IN.safetensors")
    inspect.set_defaults(command=_inspect)

    random = commands.add_parser("make-random", help="write a model with random weights, for speed tests")
    random.add_argument("--preset", choices=PRESETS, default="4b")
    random.add_argument("--type", choices=TYPES, default="q4_0", help="of its matrices; default: q4_0")
    random.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty folder, or a new one")
    random.add_argument("--seed", type=int, default=1, metavar="N")
    _add_shard_size(random)
    random.set_defaults(command=_make_random)


def _add_shard_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shard-mb", type=int, default=512, metavar="N", help="1…512, size of a shard in MiB")


# -- commands -------------------------------------------------------------------------------------
async def _fetch(options: argparse.Namespace) -> int:
    if not 1 <= options.connections <= 4:
        raise ConfigError(f"--connections must be from 1 to 4, got {options.connections}")
    with Progress() as progress:
        files = await fetch_model(options.source, options.folder, progress.tell, options.connections)
    _list_files(files)
    return 0


def _convert(options: argparse.Namespace) -> int:
    with Progress() as progress:
        files = convert(options.checkpoint, options.out, MATRIX_TYPES[options.type], progress.of("convert"))
    _list_files(files)
    return 0


def _split(options: argparse.Namespace) -> int:
    shard_bytes = _shard_bytes(options)
    with Progress() as progress:
        shards = split(options.model, options.out, shard_bytes, progress.of("split"))
    _list_files(shards)
    return 0


def _join(options: argparse.Namespace) -> int:
    with Progress() as progress:
        join(options.folder, options.out, progress.of("join"))
    _list_files([options.out])
    return 0


def _manifest(options: argparse.Namespace) -> int:
    with Progress() as progress:
        if options.check:
            wrong = check_files(options.folder, progress.of("check"))
        else:
            files = write_manifest(options.folder, progress.of("manifest"))
    if options.check:
        for sentence in wrong:
            say(sentence)
        return 1 if wrong else 0
    for file in files:
        print(f"{file.sha256}  {file.n_bytes:>13,}  {file.name}")
    return 0


async def _inspect(options: argparse.Namespace) -> int:
    if is_checkpoint(options.model):
        await _print_checkpoint(open_checkpoint(options.model))
        return 0
    source, _ = open_model_files(options.model)
    index = await read_index(source)
    print(f"{source.name}: GGUF version {index.version}, {source.n_bytes:,} bytes, {len(index.tensors)} tensors")
    _print_metadata(index.metadata)
    _print_verdict(index)
    for tensor in index.tensors.values():
        _print_tensor(tensor.offset, tensor.n_bytes, type_name(tensor.ggml_type), tensor.shape, tensor.name)
    return 0


async def _print_checkpoint(checkpoint: Checkpoint) -> None:
    names = ", ".join(str(file) for file in checkpoint.files)
    print(f"{names}: safetensors, {checkpoint.n_bytes:,} bytes of weights, {len(checkpoint.tensors)} tensors")
    _print_metadata(checkpoint.metadata)
    try:
        _print_verdict(await read_index(as_gguf(checkpoint)))
    except ModelFileError as error:
        print(f"  this engine does not run it: {error}")
    for tensor in checkpoint.tensors.values():
        _print_tensor(tensor.offset, tensor.n_bytes, tensor.dtype, tensor.shape, tensor.name)


def _print_verdict(index: GgufIndex) -> None:
    """The dimensions, and whether such a network can be computed."""
    try:
        config = read_config(index)
        print(f"  encoder: {config.encoder}\n  decoder: {config.decoder}")
        check(index, config)
        print("  this engine runs it")
    except ModelFileError as error:
        print(f"  this engine does not run it: {error}")


def _print_metadata(metadata: Mapping[str, Any]) -> None:
    """Entries, each cut to a line."""
    for key, value in metadata.items():
        text = f"{key} = {value}"
        print(f"  {text if text.isprintable() and len(text) <= 200 else ascii(text[:200])}")


def _print_tensor(offset: int, n_bytes: int, kind: str, shape: tuple[int, ...], name: str) -> None:
    sizes = " x ".join(map(str, shape))
    print(f"  {offset:>12}  {n_bytes:>12}  {kind:<5} {sizes:<18} {name if name.isprintable() else ascii(name)}")


def _make_random(options: argparse.Namespace) -> int:
    shape, kind = PRESETS[options.preset], TYPES[options.type]
    _list_files(make_random(shape, options.out, options.seed, _shard_bytes(options), kind))
    return 0


def _shard_bytes(options: argparse.Namespace) -> int:
    if not 1 <= options.shard_mb <= 512:
        raise ConfigError(f"--shard-mb must be from 1 to 512, got {options.shard_mb}")
    return int(options.shard_mb) << 20


def _list_files(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"{path}: {path.stat().st_size:,} bytes")

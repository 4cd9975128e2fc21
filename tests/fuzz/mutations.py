"""Damaged copies of good files; each is a function of the file and a seed."""

import random
import zlib
from collections.abc import Callable, Sequence

_NUMBERS = (
    b"0", b"-1", b"2147483647", b"2147483648", b"9223372036854775808", b"9" * 40, b"9" * 5000, b"1_0", b"1e309", b"NaN",
)  # fmt: skip
_TOKENS = (
    b"\x00", b"\r\n", b"\r", b"\t", b"\n\n", b" ", b";", b",", b"=", b"|", b"/", b":", b"<", b">", b"<DEL>", b"*", b".",
    b"#", b"##", b">", b"\xff\xfe", b"\xef\xbb\xbf", "é".encode(), b"GT", b"END=5", b"END=-7", b"IDX=99999", b"ID=",
)  # fmt: skip

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def mutate(seed: int, corpus: Sequence[bytes]) -> bytes:
    """Return a damaged copy of one of ``corpus``, the same for the same seed."""
    rng = random.Random(seed)
    data = rng.choice(corpus)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        data = rng.choice(_MUTATIONS)(rng, data, corpus)
    return data


def mutate_packed(seed: int, corpus: Sequence[bytes]) -> bytes:
    """Return a BGZF file: of damaged text, or whole text with damaged blocks."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        return bgzip(mutate(seed, corpus), rng.choice((64, 500, 65280)))
    return mutate(seed, [bgzip(data, rng.choice((64, 500, 65280))) for data in corpus])


def bgzip(data: bytes, size: int = 65280) -> bytes:
    """Return ``data`` in BGZF blocks of ``size`` bytes of text."""
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(map(_block, [*pieces, b""]))


def _block(data: bytes) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    head = bytes.fromhex("1f8b08040000000000ff0600424302") + b"\x00"
    return b"".join(
        (
            head,
            (len(head) + 2 + len(body) + 8 - 1).to_bytes(2, "little"),
            body,
            zlib.crc32(data).to_bytes(4, "little"),
            len(data).to_bytes(4, "little"),
        )
    )


def _place(rng: random.Random, data: bytes) -> int:
    return rng.randint(0, len(data))


def _flip_bits(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _i in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: _place(rng, data)]


def _remove(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start = _place(rng, data)
    return data[:start] + data[start + rng.choice((1, 2, 4, 20, 200)) :]


def _splice(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    other = rng.choice(corpus)
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def _repeat_line(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    number = rng.randrange(len(lines))
    return b"".join(lines[: number + 1] + [lines[number]] * rng.choice((1, 1, 50)) + lines[number + 1 :])


def _swap_lines(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def _insert_token(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    place = _place(rng, data)
    return data[:place] + rng.choice(_TOKENS + _NUMBERS) + data[place:]


def _replace_field(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    number = rng.randrange(len(lines))
    fields = lines[number].split(b"\t")
    fields[rng.randrange(len(fields))] = rng.choice(_TOKENS + _NUMBERS + (b"", b"A" * 5000))
    lines[number] = b"\t".join(fields)
    return b"\n".join(lines)


def _carriage_returns(_: random.Random, data: bytes, __: Sequence[bytes]) -> bytes:
    return data.replace(b"\n", b"\r\n")


def _overwrite_number(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Put an extreme binary number where there may be a length or a count."""
    width = rng.choice((1, 2, 4, 8))
    start = _place(rng, data)
    number = rng.choice((0, 1, (1 << (8 * width)) - 1, 1 << (8 * width - 1), (1 << (8 * width - 1)) - 1))
    return data[:start] + number.to_bytes(width, "little") + data[start + width :]


_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits, _flip_bits, _truncate, _remove, _splice, _repeat_line, _swap_lines, _insert_token, _insert_token,
    _replace_field, _replace_field, _carriage_returns, _overwrite_number,
)  # fmt: skip

"""The heap as every instance finds it: one free region instead of thousands of holes.

Imports and warm-up leave free blocks all over the heap. The allocator prefers them to
fresh memory, so that a run of a few hundred small objects would write to nearly as many
pages, each of which the host has to copy and to restore.
"""

#: How much is free in one piece, in bytes. A hello takes less than a tenth of it; what
#: needs more grows the memory.
_FREE_BYTES = 4 << 20

#: The largest hole that is filled by blocks of its own size.
_HOLE_BYTES_MAX = 1 << 16

#: Blocks that show where the heap ends.
_PIECE_BYTES = 1 << 18

#: The allocator's unit, and what a `bytes` takes beside its content: head, final zero,
#: and the allocator's own word.
_UNIT = 16
_OVERHEAD = 17 + 4

#: What fills the holes, for ever.
_fillings = None


def fill_holes():
    """Leaves no free block but a zeroed one at the heap's end."""
    global _fillings
    pieces = _at_the_end()
    end = id(pieces[0])
    fillings = None
    for size in range(_HOLE_BYTES_MAX, 0, -_UNIT):
        while id(block := _block(size)) < end:
            fillings = block, fillings
    _fillings = fillings


def _at_the_end():
    """Adjacent blocks above all others, `_FREE_BYTES` of them."""
    pieces, before = [], []
    while len(pieces) * _PIECE_BYTES < _FREE_BYTES:
        piece = _block(_PIECE_BYTES)
        if pieces and id(piece) != id(pieces[-1]) + _PIECE_BYTES:
            before += pieces
            pieces = []
        pieces.append(piece)
    # Those before are freed here, and filled with all other holes.
    return pieces


def _block(size):
    """An object for which the allocator takes `size` bytes, a multiple of its unit."""
    return object() if size == _UNIT else bytes(size - _OVERHEAD)

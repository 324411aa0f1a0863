"""Where code lies in memory: what writes to itself, side by side.

CPython counts in the bytecode itself how often an instruction that has no special form yet
was run. Such code is all over the heap, and a run would write to a page for each of its
functions. The code that counts even when it is warm is moved together here.
"""

import types

from . import heap, lasting


def gather(warm):
    """Moves the code that `warm`, a function that runs samples, writes to.

    It has to be warm already. The moved code has not run yet: run `warm` again.
    """
    before = _states()
    warm()
    after = _states()
    counting = [code for code, state in after.values() if _state_in(before, code) != state]
    del before, after
    functions = [found for found in lasting.walk() if isinstance(found, types.FunctionType)]
    with heap.in_one_piece():
        _move(counting, functions)
    print("moved", len(counting), sum(len(c._co_code_adaptive) for c in counting))


def _states():
    """Each code object that can be reached, by its address, and what its bytes are."""
    return {
        id(code): (code, hash(code._co_code_adaptive))
        for code in lasting.walk()
        if isinstance(code, types.CodeType)
    }


def _state_in(states, code):
    found = states.get(id(code))
    return found and found[1]


def _move(counting, functions):
    """Gives every function that runs one of these code objects a copy of it."""
    copies = {id(code): None for code in counting}

    def copy(code):
        if copies[id(code)] is None:
            constants = tuple(
                copy(constant) if id(constant) in copies else constant for constant in code.co_consts
            )
            copies[id(code)] = code.replace(co_consts=constants)
        return copies[id(code)]

    for code in counting:
        copy(code)
    for function in functions:
        moved = copies.get(id(function.__code__))
        if moved is not None:
            function.__code__ = moved

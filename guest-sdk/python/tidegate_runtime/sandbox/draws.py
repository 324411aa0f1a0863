"""`random`, seeded when a program first draws from it.

No instance may draw what the memory that all start from would give, so componentize-py
calls ``random.seed()`` in each of them. That fetches and mixes 2.5 KB, longer than all the
rest of a small run takes, and few runs draw at all.
"""

import gc
import random
import types

#: Names of `random` that are not there until one of them is asked for.
sleeping = ()


def defer():
    """Puts the seeding off until something of `random` is asked for.

    Not when another module has kept a function of it: that would never be asked for. Call
    it when all modules are imported. Returns whether it is put off.
    """
    global sleeping
    known = vars(random)
    if _is_kept(random._inst, known):
        return False
    shared = random._inst
    hidden = {
        name: value
        for name, value in known.items()
        if value is shared or getattr(value, "__self__", None) is shared
    }
    is_begun = is_awake = False

    def wake():
        nonlocal is_awake
        if not is_awake:
            is_awake = True
            for name in ("__getattr__", "__dir__"):
                known.pop(name, None)
            known.update(hidden)

    def seed(*arguments, **options):
        nonlocal is_begun
        if not is_begun:
            # componentize-py's call, before anything of the program runs.
            is_begun = True
            return
        wake()
        shared.seed(*arguments, **options)

    def get(name):
        if name not in hidden:
            raise AttributeError(f"module 'random' has no attribute {name!r}", name=name, obj=random)
        if not is_awake:
            shared.seed()
            wake()
        return hidden[name]

    for name in hidden:
        del known[name]
    known.update(seed=seed, __getattr__=get, __dir__=lambda: sorted({*known, *hidden}))
    sleeping = tuple(name for name in hidden if name != "seed")
    return True


def _is_kept(shared, known):
    """Whether anything but the dict `known` refers to `shared` or to a method of it."""
    found, methods, keepers = gc.get_referrers(shared), [], []
    # No comprehension: before CPython 3.12 its own variables would refer to them.
    for thing in found:
        (methods if getattr(thing, "__self__", None) is shared else keepers).append(thing)
    keepers += gc.get_referrers(*methods)
    ours = {id(known), id(found), id(methods)}
    for thing in keepers:
        if not isinstance(thing, types.FrameType) and id(thing) not in ours:
            return True
    return False

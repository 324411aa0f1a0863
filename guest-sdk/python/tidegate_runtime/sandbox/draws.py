"""`random`, seeded when a program first draws from it.

No instance may draw what the memory that all start from would give, so componentize-py
calls ``random.seed()`` in each of them. That fetches and mixes 2.5 KB, longer than all the
rest of a small run takes, and few runs draw at all.
"""

import gc
import random
import sys
import types


def defer():
    """Puts the seeding off until something of `random` is asked for, or called.

    Not when a function of it is kept somewhere else than in a module: nothing would tell
    when that is called. To be called when all modules are imported. Returns whether the
    seeding is put off.
    """
    known = vars(random)
    hidden = {
        name: value
        for name, value in known.items()
        if value is random._inst or getattr(value, "__self__", None) is random._inst
    }
    names = {id(value): name for name, value in hidden.items() if name != "_inst"}
    copies = [
        (module.__dict__, attribute, names[id(value)])
        for module in list(sys.modules.values())
        if module is not random and isinstance(module, types.ModuleType)
        for attribute, value in module.__dict__.items()
        if id(value) in names
    ]
    holders = {id(holder) for holder, _, _ in copies}
    if _is_kept(random._inst, {id(known), id(hidden), *holders}):
        return False
    shared = random._inst
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

    def late(name):
        def call(*arguments, **options):
            return get(name)(*arguments, **options)

        call.__name__ = call.__qualname__ = name
        call.__doc__ = hidden[name].__doc__
        return call

    for holder, attribute, name in copies:
        holder[attribute] = seed if name == "seed" else late(name)
    for name in hidden:
        del known[name]
    known.update(seed=seed, __getattr__=get, __dir__=lambda: sorted({*known, *hidden}))
    return True


def _is_kept(shared, ours):
    """Whether anything whose identity is not among `ours` refers to `shared` or its methods."""
    found, methods, keepers = gc.get_referrers(shared), [], []
    # No comprehension: before CPython 3.12 its own variables would refer to them.
    for thing in found:
        (methods if getattr(thing, "__self__", None) is shared else keepers).append(thing)
    arguments = tuple(methods)
    keepers += gc.get_referrers(*arguments)
    ours = {*ours, id(found), id(methods), id(arguments)}
    for thing in keepers:
        if id(thing) not in ours and not isinstance(thing, types.FrameType):
            return True
    return False

"""Key derivation, which CPython leaves to OpenSSL."""

import hashlib
import hmac


def pbkdf2_hmac(hash_name, password, salt, iterations, dklen=None):
    """PBKDF2 of RFC 8018 section 5.2 with HMAC, as `hashlib` has it.

    Every iteration is Python's work: some 300,000 a second.
    """
    if not isinstance(hash_name, str):
        raise TypeError(f"expected str for hash name, not {type(hash_name).__name__}")
    if iterations < 1:
        raise ValueError("iteration value must be greater than 0.")
    size = hashlib.new(hash_name).digest_size
    if dklen is None:
        dklen = size
    if dklen < 1:
        raise ValueError("key length must be greater than 0.")
    password, salt = bytes(password), bytes(salt)
    derived = b""
    block = 0
    while len(derived) < dklen:
        block += 1
        derived += _block(hash_name, password, salt + block.to_bytes(4, "big"), iterations, size)
    return derived[:dklen]


def _block(hash_name, password, message, iterations, size):
    keyed = hmac.new(password, digestmod=hash_name)
    copy, from_bytes = keyed.copy, int.from_bytes
    mac = copy()
    mac.update(message)
    last = mac.digest()
    mixed = from_bytes(last, "big")
    for _ in range(iterations - 1):
        mac = copy()
        mac.update(last)
        last = mac.digest()
        mixed ^= from_bytes(last, "big")
    return mixed.to_bytes(size, "big")


def scrypt(*arguments, **options):
    raise NotImplementedError("scrypt is not available in this sandbox: use pbkdf2_hmac")


def install():
    hashlib.pbkdf2_hmac = pbkdf2_hmac
    hashlib.scrypt = scrypt

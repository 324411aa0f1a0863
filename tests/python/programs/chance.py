"""Everything that must differ between two runs although they start from one snapshot."""

import hashlib
import json
import os
import random
import secrets
import tempfile
import time
import uuid

import random as at_import

EARLY = at_import.random()


def workflow(settings: dict):
    return {
        "random at import": EARLY,
        "random": random.random(),
        "another Random": random.Random().random(),
        "uuid4": str(uuid.uuid4()),
        "uuid1": str(uuid.uuid1()),
        "urandom": os.urandom(8).hex(),
        "secrets": secrets.token_hex(8),
        "temporary name": tempfile.mktemp(),
        "time": time.time_ns(),
    }

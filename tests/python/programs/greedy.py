"""A list that grows without end."""


def workflow(_request, settings):
    rows = []
    while True:
        rows.append(bytearray(1 << 16))

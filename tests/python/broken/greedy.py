FOUND = []
while True:
    FOUND.append("x" * 1_000_000)


def workflow(_request, settings):
    pass

def workflow(_request, settings):
    yield 1

import reqests


def workflow(_request, settings):
    return None

def handler(_request, settings):
    return None

TEXT = json.dumps({})


def workflow(_request, settings):
    pass

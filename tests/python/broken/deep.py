def deeper():
    return deeper()


deeper()


def workflow(_request, settings):
    pass

def workflow(settings):
    return None

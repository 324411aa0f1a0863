def workflow(_request, settings):
	if settings:
        return None

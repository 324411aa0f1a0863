async def workflow(_request, settings):
    return None

def workflow(_request, settings):
    return dict(
        status_code: 201,
        body="made",
    )

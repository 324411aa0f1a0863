def workflow(_request, settings):
    print("before", flush=True)
    while True:
        pass

def workflow(a, b, c):
    pass

import numpy as np


def workflow(_request, settings):
    return None

import os

import boto3


def workflow(_request, settings):
    pass

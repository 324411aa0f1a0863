def workflow(_request: Dict, settings: Dict):
    return None

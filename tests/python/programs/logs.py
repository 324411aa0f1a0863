import logging
import sys
import warnings

logger = logging.getLogger("flow")


def workflow(settings: dict):
    print("printed")
    logger.debug("not asked for")
    logger.info("informed")
    logger.warning("warned of %s", "it")
    print("to standard error", file=sys.stderr)
    try:
        {}["missing"]
    except KeyError:
        logger.exception("caught")
    logging.basicConfig(level=logging.DEBUG)
    logger.debug("asked for")
    print("é \ud800", "end", sep="|")
    warnings.warn("old ways")

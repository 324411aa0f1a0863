"""requests over `pools`: no files of certificates, and no search for what is not there.

With each request, requests looks for proxies in the environment, for a ``.netrc``, and for
cookies, and it parses its URL a dozen times over. What is replaced here gives the same
results, and finds out first, in little time, that there is nothing to do.
"""

import functools
import os
import urllib.parse
from collections import OrderedDict
from collections.abc import ItemsView
from http.cookiejar import DefaultCookiePolicy

from ..sandbox import files
from ..sandbox.volume import TMP
from ..sandbox.tls import NO_CLIENT_CERTIFICATES

_HOME = TMP.encode()

#: Parsed URLs that are kept.
_URLS_MAX = 64


def install():
    global RequestsCookieJar
    try:
        import requests.adapters
        from requests import auth, cookies, models, sessions, structures, utils
    except ImportError:
        return
    adapters = requests.adapters
    adapters.HTTPAdapter.cert_verify = _cert_verify
    RequestsCookieJar = cookies.RequestsCookieJar
    parse = functools.lru_cache(_URLS_MAX, typed=True)(urllib.parse.urlparse)
    for module in (adapters, auth, cookies, models, sessions, utils):
        if getattr(module, "urlparse", None) is urllib.parse.urlparse:
            module.urlparse = parse
    for module, name, nothing_to_do, nothing in (
        (sessions, "get_environ_proxies", _no_proxies, dict),
        (sessions, "get_netrc_auth", _no_netrc, _none),
        (models, "get_cookie_header", _no_cookies, _none),
        (adapters, "extract_cookies_to_jar", _sets_no_cookies, _none),
        (sessions, "extract_cookies_to_jar", _sets_no_cookies, _none),
    ):
        setattr(module, name, _unless(nothing_to_do, getattr(module, name), nothing))
    _quicken(structures.CaseInsensitiveDict)
    plain = (dict, OrderedDict, structures.CaseInsensitiveDict)
    sessions.merge_setting = _merging(sessions.merge_setting, plain)


def _cert_verify(self, connection, url, verify, cert):
    """Takes any `verify`: the host's operator decides which authorities are trusted."""
    if cert:
        raise OSError(NO_CLIENT_CERTIFICATES)
    connection.cert_reqs = "CERT_REQUIRED"
    connection.ca_certs = connection.ca_cert_dir = None


def _unless(nothing_to_do, function, nothing):
    """`function`, or what `nothing` gives where `nothing_to_do` says so of its arguments."""

    @functools.wraps(function)
    def wrapper(*arguments, **options):
        if nothing_to_do(*arguments, **options):
            return nothing()
        return function(*arguments, **options)

    return wrapper


def _none():
    return None


def _no_proxies(url, no_proxy=None):
    return not any(name[-6:].lower() == b"_proxy" for name in os.environ._data)


def _no_netrc(url, raise_errors=False):
    variables = os.environ._data
    return (
        b"NETRC" not in variables
        and variables.get(b"HOME") == _HOME
        and files.is_untouched()
    )


def _no_cookies(jar, request):
    return type(jar) is RequestsCookieJar and not jar._cookies and _is_usual(jar._policy)


def _sets_no_cookies(jar, request, response):
    headers = getattr(getattr(response, "_original_response", None), "msg", None)
    return (
        type(jar) is RequestsCookieJar
        and headers is not None
        and "set-cookie" not in headers
        and "set-cookie2" not in headers
    )


def _is_usual(policy):
    return type(policy) is DefaultCookiePolicy and not policy.rfc2965


def _merging(merge_setting, plain):
    """requests' own function, which finds out at length what there is to merge."""

    def quick_merge_setting(request_setting, session_setting, dict_class=OrderedDict):
        if session_setting is None:
            return request_setting
        if request_setting is None:
            return session_setting
        if type(request_setting) not in plain or type(session_setting) not in plain:
            return merge_setting(request_setting, session_setting, dict_class)
        merged = dict_class(list(session_setting.items()))
        merged.update(list(request_setting.items()))
        for name in [name for name, value in merged.items() if value is None]:
            del merged[name]
        return merged

    quick_merge_setting.__name__ = "merge_setting"
    return quick_merge_setting


class _Items(ItemsView):
    """The items of a `CaseInsensitiveDict`: its store has them as they are."""

    def __iter__(self):
        return iter(self._mapping._store.values())


def _quicken(kind):
    """Gives requests' dict of headers its usual operations at less cost.

    A class derived from it has its own way to do what they are made of.
    """
    update, copy, items = kind.update, kind.copy, kind.items

    def quick_update(self, other=(), /, **more):
        if type(self) is not kind or more or type(other) not in (dict, list, kind):
            update(self, other, **more)
            return
        store = self._store
        for key, value in other if type(other) is list else other.items():
            store[key.lower()] = (key, value)

    def quick_copy(self):
        if type(self) is not kind:
            return copy(self)
        made = kind.__new__(kind)
        made._store = self._store.copy()
        return made

    def quick_items(self):
        return _Items(self) if type(self) is kind else items(self)

    kind.update, kind.copy, kind.items = quick_update, quick_copy, quick_items
    for function, name in ((quick_update, "update"), (quick_copy, "copy"), (quick_items, "items")):
        function.__name__ = name

"""HTTP out of the sandbox, for libraries that think they have a socket.

`http.client` is where `urllib.request`, `urllib3`, `requests` and all that is built on
them meet the network. `client` replaces the part of it that writes to and reads from
a socket; `whole` hands urllib3's usual requests over without serialising them; `pools`
and `requests_` mend what urllib3 and requests do around that. DNS, connections, TLS,
pooling and the policy on addresses are the host's.
"""


def install():
    """Sends the HTTP of every library that is present through the host."""
    from . import client, pools, requests_

    client.install()
    pools.install()
    requests_.install()

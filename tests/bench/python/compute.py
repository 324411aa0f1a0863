"""Nothing but work for the processor: how many primes there are below a number."""


def workflow(_request: dict, settings: dict) -> dict:
    limit = 30_000
    sieve = [True] * limit
    sieve[0] = sieve[1] = False
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            for multiple in range(number * number, limit, number):
                sieve[multiple] = False
    return dict(status_code=200, headers={"Content-Type": "text/plain"}, body=f"{sum(sieve)}\n")

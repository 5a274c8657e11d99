"""Asks a service so many times a second, from a process of its own, and tells how long answers take.

Usage: python load.py URL RATE SECONDS '[["GET", "/jobs", null], ["POST", "/jobs", {"text": ".."}], ..]'
Requests are sent when they are due, however long answers take, and time is counted from when they were due: a service
that halts is not asked less meanwhile. Prints JSON: by method and path, sorted latencies in milliseconds.
"""

import asyncio
import collections
import itertools
import json
import sys
import time

import aiohttp

# Connections that are kept open.
CONNECTIONS = 32


async def ask(client: aiohttp.ClientSession, url: str, wish: list, due: float) -> tuple[str, int, float]:
    method, path, body = wish
    async with client.request(method, url + path, json=body) as answer:
        await answer.read()
        return f"{method} {path}", answer.status, 1e3 * (time.perf_counter() - due)


async def run(url: str, rate: float, seconds: float, wishes: list) -> dict:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as client:
        # Connections and this program's own code are warm before anything counts.
        now = time.perf_counter()
        await asyncio.gather(*(ask(client, url, ["GET", "/health", None], now) for _ in range(CONNECTIONS)))
        began = time.perf_counter() + 0.1
        tasks = []
        for turn, wish in zip(range(int(rate * seconds)), itertools.cycle(wishes)):
            due = began + turn / rate
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            tasks.append(asyncio.create_task(ask(client, url, wish, due)))
        answers = await asyncio.gather(*tasks)
        took = time.perf_counter() - began
    latencies, faults = collections.defaultdict(list), collections.Counter()
    for name, status, latency in answers:
        latencies[name].append(latency)
        faults[str(status)] += status >= 400
    sorted_ms = {name: sorted(values) for name, values in latencies.items()}
    return {"rate": len(answers) / took, "faults": {k: n for k, n in faults.items() if n}, "latency_ms": sorted_ms}


if __name__ == "__main__":
    url, rate, seconds, wishes = sys.argv[1:]
    print(json.dumps(asyncio.run(run(url, float(rate), float(seconds), json.loads(wishes)))))

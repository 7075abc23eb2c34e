"""The same work by Python's ProcessPoolExecutor with two processes; prints one figure a line."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor


def same(value):
    return value


def alone(pool, calls):
    times = []
    for number in range(calls):
        begin = time.perf_counter()
        pool.submit(same, number).result()
        times.append(time.perf_counter() - begin)
    return sorted(times)[calls // 2] * 1e6


def rate(pool, items, chunksize):
    begin = time.perf_counter()
    count = sum(1 for _ in pool.map(same, items, chunksize=chunksize))
    return count / (time.perf_counter() - begin)


if __name__ == "__main__":
    scale = float(sys.argv[1])
    with ProcessPoolExecutor(2) as pool:
        pool.submit(same, 0).result()
        print("alone_us", alone(pool, int(3000 * scale)))
        print("map_per_s", rate(pool, range(int(20_000 * scale)), 1))
        print("map_by_hand_per_s", rate(pool, range(int(500_000 * scale)), 1000))
        print("large_per_s", rate(pool, [bytes(1 << 20)] * int(300 * scale), 1))

"""Works that run at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable


def together(*works: Callable[[], None]) -> None:
    """Run works at the same time, and raise what the first one raised that failed."""
    failures: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        try:
            start.wait()
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]

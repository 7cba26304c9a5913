"""The smallest hosted agent: a class as ever, and one keyword."""

import agentd


class Counter(agentd.Agent):
    def __init__(self, start: int) -> None:
        self.value = start

    def add(self, n: int) -> int:
        self.value += n
        return self.value


if __name__ == "__main__":
    counter = Counter(5, to_dist=True)  # __init__ runs in a worker process, and only there
    print(counter.add(1))  # 6

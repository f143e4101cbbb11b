"""shim"""


class MemoryBank:
    def __init__(self, *a):
        pass

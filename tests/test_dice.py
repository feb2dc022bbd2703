from gateway.dice import STORE, Dice


def test_every_byte_is_given_once() -> None:
    asked: list[int] = []

    def source(count: int) -> bytes:
        asked.append(count)
        return bytes((len(asked) + at) % 256 for at in range(count))

    dice = Dice(source)
    given = b"".join(dice.random_bytes(10) for _ in range(STORE // 10 + 1))
    assert len(given) == (STORE // 10 + 1) * 10
    assert asked == [16, STORE, STORE]
    assert given[: STORE - STORE % 10] == bytes((2 + at) % 256 for at in range(STORE - STORE % 10))
    assert given[-10:] == bytes((3 + at) % 256 for at in range(10))


def test_the_system_gives_different_bytes_and_rolls_are_below_one() -> None:
    dice = Dice()
    assert len({dice.random_bytes(16) for _ in range(1_000)}) == 1_000
    rolls = [dice.roll() for _ in range(1_000)]
    assert 0 <= min(rolls) < 0.1
    assert 0.9 < max(rolls) < 1

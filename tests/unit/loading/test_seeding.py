from itertools import product

from damo_yolo.loading.seeding import generator


def test_equal_keys_give_equal_numbers() -> None:
    one, again = generator(7, 1, 2, 3), generator(7, 1, 2, 3)

    assert one.random(5).tolist() == again.random(5).tolist()


def test_every_part_of_the_key_matters() -> None:
    keys = list(product((0, 1, 1 << 40), (0, 1), (0, 1), (0, 1, 1_000_000)))

    first = {generator(*key).integers(1 << 62) for key in keys}

    assert len(first) == len(keys)


def test_a_generator_that_draws_a_lot_does_not_meet_its_neighbour() -> None:
    long = set(generator(0, 0, 0, 0).integers(1 << 62, size=10_000).tolist())

    for index in range(1, 20):
        assert long.isdisjoint(generator(0, 0, 0, index).integers(1 << 62, size=100).tolist())

from headwatch.tasks.words import FEMALE, MALE, split_words


def test_words_are_split_at_any_space() -> None:
    assert split_words(" one two\nthree ") == ("one", "two", "three")


def test_names_are_many_different_and_in_one_list_only() -> None:
    names = [*FEMALE, *MALE]
    assert len(names) == len(set(names)) > 100

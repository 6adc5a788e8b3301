"""Lists of words, and the first names that several tasks share: common ones, likely to be one token in GPT-2."""


def split_words(text: str) -> tuple[str, ...]:
    """The words of a text, as a list that is easy to read and to add to."""
    return tuple(text.split())


FEMALE = split_words(
    "Mary Elizabeth Jennifer Jessica Sarah Ashley Amanda Stephanie Nicole Heather Megan Melissa Christina Rachel Laura "
    "Lauren Amber Brittany Danielle Kimberly Amy Michelle Tiffany Emily Rebecca Erin Samantha Sara Angela Katherine "
    "Andrea Erica Lisa Katie Lindsay Vanessa Christine Alicia Allison Anna Emma Alice Jane Kate Susan Karen Nancy "
    "Margaret Linda Barbara Helen Ruth Julia Maria Diana Victoria Caroline Claire Martha Anne"
)

MALE = split_words(
    "John James Robert Michael William David Richard Joseph Thomas Charles Christopher Daniel Matthew Anthony Mark "
    "Paul Steven Andrew Kenneth George Joshua Kevin Brian Edward Ronald Timothy Jason Jeffrey Ryan Jacob Gary Nicholas "
    "Eric Jonathan Stephen Larry Justin Scott Brandon Benjamin Samuel Gregory Frank Alexander Patrick Jack Tyler Aaron "
    "Adam Nathan Henry Peter Kyle Jeremy Sean Bradley Simon Luke Evan Martin"
)

//! Nothing: the tests of the whole fleet are in `tests/it`.

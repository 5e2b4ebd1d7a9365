"""One of several files with the same bytes is kept, or none."""

import dataclasses

from components.example_gen.duplicates import Record, resolve_duplicates


def make_record(path, label="cat", span="", split=""):
    return Record(path, label, span, split, size=10, digest="d1")


def find_problems(*records):
    return {r.path: r.problem for r in resolve_duplicates(records)}


def test_a_single_record_is_kept_unchanged():
    """A record without a duplicate gets no problem."""
    record = make_record("cat/1.jpg")
    assert resolve_duplicates([record]) == [record]


def test_of_duplicates_in_a_class_the_first_path_is_kept_and_named():
    """The order of the records does not matter; the result is in the order of the paths."""
    records = [make_record("cat/3.jpg"), make_record("cat/1.jpg"), make_record("cat/2.jpg")]
    resolved = resolve_duplicates(records)
    assert [r.path for r in resolved] == ["cat/1.jpg", "cat/2.jpg", "cat/3.jpg"]
    assert [r.problem for r in resolved] == ["", "duplicate of cat/1.jpg", "duplicate of cat/1.jpg"]
    assert resolve_duplicates(records[::-1]) == resolved


def test_same_bytes_in_two_classes_are_all_left_out():
    """Two labels are a contradiction, and the reason names both."""
    problems = find_problems(make_record("cat/1.jpg"), make_record("dog/1.jpg", "dog"), make_record("cat/2.jpg"))
    assert set(problems.values()) == {"the same image is labelled cat and dog"}
    assert len(problems) == 3


def test_across_spans_the_newest_label_wins():
    """The newer label is a correction; the reason of the older file names the newer file."""
    old = make_record("2026-01-01/cat/1.jpg", "cat", "2026-01-01")
    new = make_record("2026-01-02/dog/1.jpg", "dog", "2026-01-02")
    assert find_problems(old, new) == {
        old.path: "labelled dog since, by 2026-01-02/dog/1.jpg",
        new.path: "",
    }


def test_across_spans_the_newest_duplicate_of_the_same_label_is_kept():
    """The image is kept once, in the newest span."""
    old = make_record("2026-01-01/cat/1.jpg", span="2026-01-01")
    new = make_record("2026-01-02/cat/1.jpg", span="2026-01-02")
    assert find_problems(new, old) == {old.path: f"duplicate of {new.path}", new.path: ""}


def test_two_labels_within_the_newest_span_leave_out_the_older_spans_as_well():
    """A contradiction in the newest span leaves out the older files, too."""
    problems = find_problems(
        make_record("2026-01-01/cat/1.jpg", "cat", "2026-01-01"),
        make_record("2026-01-02/cat/1.jpg", "cat", "2026-01-02"),
        make_record("2026-01-02/dog/1.jpg", "dog", "2026-01-02"),
    )
    assert len(problems) == 3
    assert set(problems.values()) == {"the same image is labelled cat and dog"}


def test_two_labels_within_an_older_span_are_settled_by_the_newest():
    """A newer label resolves the contradiction of an older span."""
    problems = find_problems(
        make_record("2026-01-01/cat/1.jpg", "cat", "2026-01-01"),
        make_record("2026-01-01/dog/1.jpg", "dog", "2026-01-01"),
        make_record("2026-01-02/dog/1.jpg", "dog", "2026-01-02"),
    )
    assert problems == {
        "2026-01-01/cat/1.jpg": "labelled dog since, by 2026-01-02/dog/1.jpg",
        "2026-01-01/dog/1.jpg": "duplicate of 2026-01-02/dog/1.jpg",
        "2026-01-02/dog/1.jpg": "",
    }


def test_between_ready_made_splits_the_one_nearest_to_the_test_set_is_kept():
    """A test image is never a training image, whatever the order of the paths."""
    train = make_record("train/cat/1.jpg", split="train")
    val = make_record("val/cat/1.jpg", split="val")
    test = make_record("test/cat/1.jpg", split="test")
    assert [p for p, problem in find_problems(train, val, test).items() if not problem] == [test.path]
    assert [p for p, problem in find_problems(val, train).items() if not problem] == [val.path]


def test_two_labels_in_two_ready_made_splits_are_left_out():
    """A ready-made split does not settle which label is right."""
    problems = find_problems(
        make_record("test/cat/1.jpg", "cat", split="test"), make_record("train/dog/1.jpg", "dog", split="train")
    )
    assert set(problems.values()) == {"the same image is labelled cat and dog"}


def test_a_duplicate_is_not_a_broken_file():
    """It is left out, but does not count against max_bad_fraction; everything else of the record stays."""
    first, second = make_record("cat/1.jpg"), make_record("cat/2.jpg")
    left_out = resolve_duplicates([first, second])[1]
    assert not left_out.broken
    assert dataclasses.replace(left_out, problem="") == second

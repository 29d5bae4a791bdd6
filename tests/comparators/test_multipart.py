"""Multipart bodies: what stands in the heads of their parts counts as what is in them does."""

import pytest

from comparators import Answer, Rules, compare, compile_rules

FORM = 'Content-Disposition: form-data; name="f"'


def body(*heads: str, content: str = "X") -> bytes:
    parts = (f"--b\r\n{head}\r\n\r\n{content}\r\n" for head in heads)
    return ("".join(parts) + "--b--\r\n").encode()


def places(one: bytes, other: bytes, kind: str = "multipart/mixed", **rules: object) -> list[str]:
    """The places that differ, the same ones from both sides."""
    compiled = compile_rules(Rules(**rules))  # type: ignore[arg-type]
    headers = (("Content-Type", f"{kind}; boundary=b"),)
    legacy, new = Answer(200, headers, one), Answer(200, headers, other)
    found, mirrored = compare(legacy, new, compiled), compare(new, legacy, compiled)
    paths = [each.path for each in found.differences]
    assert sorted(paths) == sorted(each.path for each in mirrored.differences)
    return paths


DIFFERENT = {
    "the name of a file": (
        f'{FORM}; filename="a.txt"', f'{FORM}; filename="b.txt"',
        "$.part.f['@content-disposition']"),
    "no file": (f'{FORM}; filename="a"', FORM, "$.part.f['@content-disposition']"),
    "a range": (
        "Content-Range: bytes 0-0/10", "Content-Range: bytes 5-5/10", "$.part.0['@content-range']"),
    "an encoding": (
        "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: 8bit",
        "$.part.0['@content-transfer-encoding']"),
    "a charset": (
        "Content-Type: text/plain; charset=utf-8", "Content-Type: text/plain",
        "$.part.0['@content-type']"),
    "a type that is one of two": (
        "Content-Type: multipart/mixed; boundary=c", "Content-Type: text/plain",
        "$.part.0['@content-type']"),
    "any other header": ("X-Y: 1", "X-Y: 2", "$.part.0['@x-y']"),
    "a header on one side": ("X-Y: 1", "Content-Length: 1", "$.part.0['@x-y']"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_head_is_found_and_may_be_ignored(name: str) -> None:
    one, other, path = DIFFERENT[name]
    assert places(body(one), body(other)) == [path]
    assert places(body(one), body(other), ignore=(path,)) == []
    assert places(body(one, one), body(other, one)) == [path]


SAME = {
    "spelling": (f"{FORM}\r\nX: 1", "x:1\r\ncontent-disposition: Form-Data;name=f"),
    "a fold": (f"{FORM}; filename=a", f"{FORM};\r\n\tfilename=a"),
    "no encoding": ("Content-Transfer-Encoding: binary", "Content-Length: 1"),
    "the charset of JSON": (
        "Content-Type: application/json; charset=utf-8", "Content-Type: application/json"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_heads_that_mean_the_same_are_the_same(name: str) -> None:
    one, other = SAME[name]
    assert places(body(one, content="1"), body(other, content="1")) == []


def test_the_name_of_a_part_is_told_from_that_of_its_file() -> None:
    one = 'Content-Disposition: form-data; filename="x; name=q"; name="f"'
    other = 'Content-Disposition: form-data; filename="y"; name="f"'
    assert places(body(one), body(other)) == ["$.part.f['@content-disposition']"]
    renamed = 'Content-Disposition: form-data; filename="y"; name="g"'
    assert places(body(other), body(renamed)) == ["$.part[0].name"]
    assert places(body(other), body(renamed), ignore=("$.part[0].name",)) == []


def test_a_head_is_compared_to_its_end() -> None:
    long = "".join(f"X-{number}: {'a' * 1000}\r\n" for number in range(40))
    assert places(body(long + "X-Y: 1"), body(long + "X-Y: 2")) == ["$.part.0['@x-y']"]


def test_parts_inside_parts_are_compared_with_their_heads() -> None:
    def nested(mark: str, name: str) -> bytes:
        inner = f"--{mark}\r\nX-Y: {name}\r\n\r\nX\r\n--{mark}--"
        return body(f"Content-Type: multipart/mixed; boundary={mark}", content=inner)

    assert places(nested("c", "1"), nested("d", "1")) == []
    assert places(nested("c", "1"), nested("d", "2")) == ["$.part.0.part.0['@x-y']"]


def test_a_boundary_may_be_quoted() -> None:
    kind = 'multipart/mixed; type="x; boundary=q"'
    assert places(body("X: 1"), body("X: 2"), kind) == ["$.part.0['@x']"]

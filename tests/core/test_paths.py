"""The path policy: each rule as a table, the universal ones as properties."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.paths import PathRefusal, Target, canonical_path, split_target

KEPT = [
    "/",
    "//",
    "///",
    "/a",
    "/a/",
    "/a//b",
    "//a",
    "/a;v=1/b",
    "/..;/a",
    "/.;/a",
    "/a/..;jsessionid=1/b",
    "/%2F",
    "/a%2Fb",
    "/..%2Fa",
    "/a%5Cb",
    "/%25",
    "/%2525",
    "/%252e%252e/a",
    "/%C3%A9",
    "/%20",
    "/%3F",
    "/%23",
    "/%01",
    "/%0D%0A",
    "/...",
    "/a/.../b",
    "/.well-known/acme",
    "/.a/..b/c./d..",
    "/a.b",
    '/a|b{c}^`"<>',
    "/!$&'()*+,;=:@",
    "/*",
    "/http://other/",
]

RESOLVED = [
    # rule 3: unreserved characters decoded, other escapes upper-cased
    ("/%7euser", "/~user"),
    ("/%41%5a%61%7A%30%39%2D%2d%5f%7E", "/AZaz09--_~"),
    ("/a%2fb", "/a%2Fb"),
    ("/a%5cb", "/a%5Cb"),
    ("/%c3%a9", "/%C3%A9"),
    ("/%3b%3d", "/%3B%3D"),
    # rule 4: dot segments, spelled in any way
    ("/.", "/"),
    ("/./", "/"),
    ("/a/.", "/a/"),
    ("/a/./b", "/a/b"),
    ("/a/..", "/"),
    ("/a/../", "/"),
    ("/a/../b", "/b"),
    ("/a/b/..", "/a/"),
    ("/a/b/../../c", "/c"),
    ("/a/b/c/./../../g", "/a/g"),
    ("/a//../b", "/a/b"),
    ("//..", "/"),
    ("//../a", "/a"),
    ("/.//a", "//a"),
    ("/%2e", "/"),
    ("/%2E/a", "/a"),
    ("/a/%2e%2E/b", "/b"),
    ("/a/.%2e/b", "/b"),
    ("/a/%2e./b", "/b"),
    ("/a/%2e%2e%2fb", "/a/..%2Fb"),
    ("/a/%2e%2e;x/b", "/a/..;x/b"),
    ("/a/%2ehidden", "/a/.hidden"),
]

REFUSED = [
    ("", "path_form"),
    ("a", "path_form"),
    ("*", "path_form"),
    ("./a", "path_form"),
    ("%2Fa", "path_form"),
    ("/a b", "path_character"),
    ("/a\\b", "path_character"),
    ("/..\\a", "path_character"),
    ("/a#b", "path_character"),
    ("/a?b", "path_character"),
    ("/a\x00", "path_character"),
    ("/a\t", "path_character"),
    ("/a\n", "path_character"),
    ("/a\r\nHost: b", "path_character"),
    ("/a\x7f", "path_character"),
    ("/caf\xc3\xa9", "path_character"),
    ("/\xff", "path_character"),
    ("/%", "path_escape"),
    ("/%2", "path_escape"),
    ("/%2/", "path_escape"),
    ("/%zz", "path_escape"),
    ("/%%32e", "path_escape"),
    ("/%u002e", "path_escape"),
    ("/% 2e", "path_character"),
    ("/%00", "path_nul"),
    ("/a%00.html", "path_nul"),
    ("/..", "path_climbs"),
    ("/../", "path_climbs"),
    ("/../a", "path_climbs"),
    ("/a/../..", "path_climbs"),
    ("/a/../../b", "path_climbs"),
    ("/./..", "path_climbs"),
    ("/%2e%2e/a", "path_climbs"),
    ("/.%2E", "path_climbs"),
    ("/a/../../a/b", "path_climbs"),
    ("//../../a", "path_climbs"),
]


@pytest.mark.parametrize("path", KEPT)
def test_data_is_left_alone(path: str) -> None:
    assert canonical_path(path) == path


@pytest.mark.parametrize(("path", "canonical"), RESOLVED)
def test_equivalent_spellings_become_one(path: str, canonical: str) -> None:
    assert canonical_path(path) == canonical


@pytest.mark.parametrize(("path", "code"), REFUSED)
def test_refused(path: str, code: str) -> None:
    refusal = canonical_path(path)
    assert isinstance(refusal, PathRefusal)
    assert refusal.code == code
    assert refusal.status == 400
    assert refusal.detail.isprintable()


@pytest.mark.parametrize("byte", range(256))
def test_every_raw_byte(byte: int) -> None:
    char = chr(byte)
    allowed = 0x21 <= byte <= 0x7E and char not in "%\\#?"
    assert isinstance(canonical_path(f"/a{char}b"), str) == allowed


@pytest.mark.parametrize("byte", range(256))
def test_every_escape(byte: int) -> None:
    char = chr(byte)
    for escape in (f"%{byte:02X}", f"%{byte:02x}"):
        result = canonical_path(f"/a{escape}b")
        if byte == 0:
            assert isinstance(result, PathRefusal)
        elif re.fullmatch(r"[A-Za-z0-9._~-]", char):
            assert result == f"/a{char}b"
        else:
            assert result == f"/a%{byte:02X}b"


PIECES = ["/", "/", ".", "..", "%2e", "%2E", "%2f", "%5c", "%41", "%25", "%00", "%", "a", ";x", "*"]
PATHS = st.lists(st.sampled_from(PIECES), max_size=14).map(lambda pieces: "/" + "".join(pieces))
ANY_BYTES = st.binary(max_size=30).map(lambda raw: "/" + raw.decode("latin-1"))


@settings(deadline=None)
@given(PATHS | ANY_BYTES)
@example("/a/%2e%2e/%2e/..b")
def test_canonical_is_a_fixed_point(path: str) -> None:
    once = canonical_path(path)
    if isinstance(once, str):
        assert canonical_path(once) == once


@settings(deadline=None)
@given(PATHS | ANY_BYTES)
def test_no_dot_segment_is_left_even_for_one_who_decodes_dots(path: str) -> None:
    result = canonical_path(path)
    if isinstance(result, str):
        segments = re.sub("%2e", ".", result, flags=re.IGNORECASE).split("/")
        assert not {".", ".."} & set(segments)
        assert segments[0] == ""
        assert all("!" <= char <= "~" for char in result)


@settings(deadline=None)
@given(PATHS)
def test_agrees_with_rfc_3986(path: str) -> None:
    """Rule by rule, with the algorithm of RFC 3986 §5.2.4 as its text has it."""
    result = canonical_path(path)
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", path):
        assert isinstance(result, PathRefusal)
        return
    decoded = re.sub(r"%([0-9A-Fa-f]{2})", _decoded_if_unreserved, path)
    expected, climbed = _remove_dot_segments(decoded)
    if climbed:
        assert isinstance(result, PathRefusal)
        assert result.code == "path_climbs"
    else:
        assert result == expected


def _decoded_if_unreserved(escape: re.Match[str]) -> str:
    char = chr(int(escape[1], 16))
    unreserved = char.isascii() and (char.isalnum() or char in "-._~")
    return char if unreserved else escape[0].upper()


def _remove_dot_segments(path: str) -> tuple[str, bool]:
    output = ""
    climbed = False
    while path:
        if path.startswith("../"):
            path = path[3:]
        elif path.startswith(("./", "/./")):
            path = path[2:]
        elif path == "/.":
            path = "/"
        elif path.startswith("/../") or path == "/..":
            path = "/" + path[4:]
            climbed = climbed or not output
            output = output[: output.rindex("/")] if output else ""
        elif path in (".", ".."):
            path = ""
        else:
            end = path.find("/", 1)
            end = len(path) if end < 0 else end
            output, path = output + path[:end], path[end:]
    return output, climbed


TARGETS = [
    ("/", Target("/")),
    ("/a?b=c", Target("/a", "?b=c")),
    ("/a?", Target("/a", "?")),
    ("/a?b?c", Target("/a", "?b?c")),
    ("/a?%2e#b \\", Target("/a", "?%2e#b \\")),
    ("//other/a", Target("//other/a")),
    ("*", Target("*", form="asterisk")),
    ("http://h", Target("/", "", "h", "absolute")),
    ("http://h/", Target("/", "", "h", "absolute")),
    ("HTTPS://H:8443/a/../b?c", Target("/a/../b", "?c", "H:8443", "absolute")),
    ("http://h?a", Target("/", "?a", "h", "absolute")),
    ("http://[::1]:80/a", Target("/a", "", "[::1]:80", "absolute")),
    ("http://h:/a", Target("/a", "", "h:", "absolute")),
    ("http://h/a?http://i/", Target("/a", "?http://i/", "h", "absolute")),
]


@pytest.mark.parametrize(("text", "target"), TARGETS)
def test_target_is_taken_apart(text: str, target: Target) -> None:
    assert split_target(text) == target
    if target.form != "asterisk":
        assert split_target(text, "GET") == target


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "target_form"),
        ("a", "target_form"),
        ("?a", "target_form"),
        ("*a", "target_form"),
        ("h:443", "target_form"),
        ("h", "target_form"),
        ("http:/a", "target_form"),
        ("ftp://h/a", "target_form"),
        ("http://", "target_authority"),
        ("http:///a", "target_authority"),
        ("http://user@h/", "target_authority"),
        ("http://user:secret@h/", "target_authority"),
        ("http://h:port/", "target_authority"),
        ("http://h:123456/", "target_authority"),
        ("http://a b/", "target_authority"),
        ("http://a\\b/", "target_authority"),
        ("http://[::1/", "target_authority"),
        ("http://:80/", "target_authority"),
    ],
)
def test_target_refused(text: str, code: str) -> None:
    refusal = split_target(text)
    assert isinstance(refusal, PathRefusal)
    assert refusal.code == code
    assert refusal.detail.isprintable()


def test_fragment_in_a_url_is_refused_with_its_path() -> None:
    for text in ("http://h/a#b", "http://h#b"):
        target = split_target(text)
        assert isinstance(target, Target)
        assert isinstance(canonical_path(target.path), PathRefusal)


def test_asterisk_is_for_options_alone() -> None:
    assert split_target("*", "OPTIONS") == Target("*", form="asterisk")
    assert isinstance(split_target("*", "GET"), PathRefusal)
    whole_server = Target("*", "", "h", "asterisk")
    assert split_target("http://h", "OPTIONS") == whole_server
    assert split_target("http://h/", "OPTIONS") == Target("/", "", "h", "absolute")


@pytest.mark.parametrize("text", ["h:443", "/", "*", "http://h/"])
def test_connect_is_not_served(text: str) -> None:
    refusal = split_target(text, "CONNECT")
    assert isinstance(refusal, PathRefusal)
    assert refusal.status == 501


@settings(deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=40))
def test_any_target_is_taken_apart_or_refused(text: str) -> None:
    target = split_target(text)
    if isinstance(target, Target) and target.form == "origin":
        assert target.path + target.query == text

import pytest
from httpx2 import URL
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.weburl import LONGEST, BadUrl, Origin, WebUrl, origin_of, read_url
from gateway.upstream.requesting import head_of

GOOD = {
    "https://pictures.example/a.png": ("https", "pictures.example", 443, "/a.png"),
    "HTTPS://Pictures.Example/A.png": ("https", "pictures.example", 443, "/A.png"),
    "http://pictures.example": ("http", "pictures.example", 80, "/"),
    "https://pictures.example?sig=a%2Fb&x=1": ("https", "pictures.example", 443, "/?sig=a%2Fb&x=1"),
    "https://pictures.example/a//b/../c?x=@y:z/#part": ("https", "pictures.example", 443, "/a//b/../c?x=@y:z/"),
    "https://pictures.example.:443/": ("https", "pictures.example", 443, "/"),
    "https://pictures.example:/x": ("https", "pictures.example", 443, "/x"),
    "https://pictures.example:8443/x": ("https", "pictures.example", 8443, "/x"),
    "http://8.8.8.8:8080/x": ("http", "8.8.8.8", 8080, "/x"),
    "https://[2606:4700::1111]/x": ("https", "2606:4700::1111", 443, "/x"),
    "https://my_bucket.store.example/x": ("https", "my_bucket.store.example", 443, "/x"),
    "https://xn--mnchen-3ya.example/x": ("https", "xn--mnchen-3ya.example", 443, "/x"),
}
BAD = {
    "bad_scheme": (
        *("ftp://a.example/x", "file:///etc/passwd", "gopher://a.example/", "data:image/png;base64,AAAA", "x", ""),
        *(
            "javascript:alert(1)",
            "dict://a.example:11211/",
            "ldap://a.example",
            "jar:http://a.example!/",
            "//a.example/x",
        ),
        *("unix:/run/docker.sock", "http+unix://%2Frun/x", "ws://a.example/", "/etc/passwd"),
    ),
    "bad_host": (
        *("http://", "http:///x", "https://?x", "http:a.example", "http:/a.example", "http://user@a.example/"),
        *("http://user:pw@a.example/", "http://a.example@127.0.0.1/", "http://a.example:80@127.0.0.1/", "http://@a/"),
        *("http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.0.0.1./"),
        *("http://0x7f.0x0.0x0.0x1/", "http://1.2.3/", "http://a.example.0/", "http://[127.0.0.1]/", "http://[::1/"),
        *("http://[fe80::1%25eth0]/", "http://[v1.x]/", "http://[::1]x/", "http://a..example/", "http://.a.example/"),
        *("http://-a.example/", "http://a%2eexample/", "http://127%2e0.0.1/", "http://a.example:x/", "http://a:80:80/"),
        *("http://" + "a" * 64 + ".example/", "http://" + "a." * 130 + "example/", "http://a.example:123456/"),
        *("http://::1/", "http://a;b.example/", "http://a,b/", "http://a=b/", "http://*/", "http://!/"),
    ),
    "bad_port": (
        *("http://a.example:0/", "http://a.example:22/", "http://a.example:25/", "http://a.example:6379/"),
        *("http://a.example:9200/", "http://127.0.0.1:2375/", "https://a.example:65535/", "http://a.example:99999/"),
    ),
    "bad_characters": (
        *("http://a.example/ x", " http://a.example/", "http://a.example/\r\nHost: b", "http://a.example\\@b/"),
        *("http://a.example/\x00", "http://a.example/\t", "http:\\\\a.example/", "http://a.example/\u00e4"),
        *("http://\uff41.example/", "http://127\u30020.0.1/", "http://\u2460.example/", "http://a.example/\x7f"),
        *("http://a.example/<x>", 'http://a.example/"', "http://a.example/{x}", "http://a.example/\u202e"),
    ),
    "too_long": ("http://a.example/" + "x" * LONGEST,),
}


@pytest.mark.parametrize("text", GOOD)
def test_good(text: str) -> None:
    found = read_url(text)
    assert isinstance(found, WebUrl)
    origin = found.origin
    assert (origin.scheme, origin.host, origin.port, found.target) == GOOD[text]


@pytest.mark.parametrize(("reason", "text"), [(reason, one) for reason, found in BAD.items() for one in found])
def test_bad(reason: str, text: str) -> None:
    assert read_url(text) == BadUrl(reason=reason)


@pytest.mark.parametrize("text", GOOD)
def test_the_client_reads_what_we_read(text: str) -> None:
    found = read_url(text)
    assert isinstance(found, WebUrl)
    again, origin = URL(found.text), found.origin
    assert (again.scheme, again.raw_host.decode(), again.port) == (origin.scheme, origin.host, _stated(origin))
    head = head_of("GET", found.target, origin.authority, (), None).decode()
    assert head.startswith(f"GET {found.target} HTTP/1.1\r\nhost: {origin.authority}\r\n")


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_whatever_is_read_is_read_alike(rest: str) -> None:
    found = read_url("http://" + rest)
    if isinstance(found, WebUrl):
        again = URL(found.text)
        assert (again.raw_host.decode(), again.port) == (found.origin.host, _stated(found.origin))
        assert again.userinfo == b""
        assert head_of("GET", found.target, found.origin.authority, (), None)


def _stated(origin: Origin) -> int | None:
    return None if origin.port == {"http": 80, "https": 443}[origin.scheme] else origin.port


def test_only_ones_own_origin_may_have_any_port() -> None:
    own = origin_of("http://127.0.0.1:9000/v1")
    assert own == Origin(scheme="http", host="127.0.0.1", port=9000)
    assert isinstance(read_url("http://127.0.0.1:9000/a.png", own), WebUrl)
    for other in ("http://127.0.0.1:9001/a.png", "https://127.0.0.1:9000/a.png", "http://localhost:9000/a.png"):
        assert read_url(other, own) == BadUrl(reason="bad_port")


@pytest.mark.parametrize("base_url", ["", "nonsense", "ftp://a.example", "http://"])
def test_no_origin(base_url: str) -> None:
    assert origin_of(base_url) is None


@pytest.mark.parametrize(
    ("location", "reached"),
    [
        ("/b.png", "https://a.example/b.png"),
        ("b.png", "https://a.example/x/b.png"),
        ("//b.example/c", "https://b.example/c"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
        ("file:///etc/passwd", "file:///etc/passwd"),
    ],
)
def test_where_a_redirect_leads(location: str, reached: str) -> None:
    start = read_url("https://a.example/x/a.png?y")
    assert isinstance(start, WebUrl)
    assert start.joined(location) == reached

"""A request is matched as the path it is forwarded as, whatever it was written as."""

import pytest

from tests.edge.conftest import Proxy
from tests.harness.snapshots import route

# As written: (as the backend gets it, whether that is below /admin).
PATHS: dict[str, tuple[str, bool]] = {
    "/admin": ("/admin", True),
    "/admin/": ("/admin/", True),
    "/admin/x": ("/admin/x", True),
    "/%61dmin/x": ("/admin/x", True),
    "/%61%64%6d%69%6E/x": ("/admin/x", True),
    "/public/../admin/x": ("/admin/x", True),
    "/public/./../admin/x": ("/admin/x", True),
    "/public/%2e%2e/admin/x": ("/admin/x", True),
    "/public/%2E./admin/x": ("/admin/x", True),
    "/./admin/x": ("/admin/x", True),
    "/admin/..": ("/", False),
    "/admin/../public": ("/public", False),
    "/admin/%2e%2e/public": ("/public", False),
    "/admin%2fx": ("/admin%2Fx", False),
    "/admin%2Fx": ("/admin%2Fx", False),
    "/public%2f..%2fadmin": ("/public%2F..%2Fadmin", False),
    "/admin%5cx": ("/admin%5Cx", False),
    "//admin/x": ("//admin/x", False),
    "/admin//x": ("/admin//x", True),
    "/public//../admin": ("/public/admin", False),
    "/admin;v=1/x": ("/admin;v=1/x", False),
    "/admin/x;v=1": ("/admin/x;v=1", True),
    "/Admin/x": ("/Admin/x", False),
    "/administrator": ("/administrator", False),
    "/admin%20/x": ("/admin%20/x", False),
    "/%c3%a4/%C3%A4": ("/%C3%A4/%C3%A4", False),
    "/a~b/%7e": ("/a~b/~", False),
    "/a+b/%2b": ("/a+b/%2B", False),
    "/x?/../admin": ("/x?/../admin", False),
    "/admin?a=%2f&b=%zz": ("/admin?a=%2f&b=%zz", True),
    "/admin/x?": ("/admin/x?", True),
}


@pytest.mark.parametrize(("written", "row"), PATHS.items())
async def test_the_path_that_is_matched_is_the_one_that_is_forwarded(
    proxy: Proxy, written: str, row: tuple[str, bool]
) -> None:
    forwarded, is_admin = row
    await proxy.serve(route("/admin/*", "new-only"), route("/*"))
    async with await proxy.connect() as client:
        response = await client.get(written)
        assert response.status == 200
    asked = proxy.new if is_admin else proxy.legacy
    assert [call.target for call in asked.calls] == [forwarded]
    # Sent again as it was forwarded, it goes the same way.
    async with await proxy.connect() as client:
        await client.get(forwarded)
    assert [call.target for call in asked.calls] == [forwarded, forwarded]


@pytest.mark.parametrize("form", ["http://shop.example{}", "http://SHOP.example:80{}"])
@pytest.mark.parametrize("written", ["/admin/x", "/public/../admin/x", "/%61dmin/x?a=b"])
async def test_the_absolute_form_follows_the_same_rules(
    proxy: Proxy, written: str, form: str
) -> None:
    await proxy.serve(route("/admin/*", "new-only"), route("/*"))
    async with await proxy.connect() as client:
        assert (await client.get(form.format(written))).status == 200
    assert proxy.new.calls[0].target.startswith("/admin/x")
    assert proxy.legacy.calls == []


async def test_both_sides_get_the_same_path(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "0%", ack="both"))
    async with await proxy.connect() as client:
        await client.get("/a/../%62?c=%2f")
        await client.post("/d/%2e/e", b"x")
    await proxy.new.complete(2)
    for backend in (proxy.legacy, proxy.new):
        assert [call.target for call in backend.calls] == ["/b?c=%2f", "/d/e"]


@pytest.mark.parametrize(
    ("host", "side"),
    [
        ("api.example", "new"),
        ("API.Example", "new"),
        ("api.example:8080", "new"),
        ("api.example.", "legacy"),
        ("x.api.example", "legacy"),
        ("other", "legacy"),
        ("[::1]", "legacy"),
    ],
)
async def test_the_host_is_matched_without_case_and_port(
    proxy: Proxy, host: str, side: str
) -> None:
    await proxy.serve(route("api.example/*", "new-only"), route("/*"))
    async with await proxy.connect() as client:
        response = await client.ask(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        if host != "api.example.":
            assert response.body.startswith(side.encode())


async def test_methods_hosts_and_params_choose_the_most_specific_route(proxy: Proxy) -> None:
    await proxy.serve(
        route("/u/*"),
        route("/u/{id}", "new-only", name="one"),
        route("POST /u/{id}", "legacy-only", name="post"),
        route("/u/me", "legacy-only", name="me"),
    )
    async with await proxy.connect() as client:
        assert (await client.get("/u/1")).body.startswith(b"new")
        assert (await client.get("/u/me")).body.startswith(b"legacy")
        assert (await client.get("/u/1/x")).body.startswith(b"legacy")
        assert (await client.post("/u/1", b"x")).body.startswith(b"legacy")

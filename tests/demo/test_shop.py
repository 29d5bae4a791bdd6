"""The two shops over real sockets: where they agree and where they differ on purpose."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from demo.shop import SHOPS, make_app
from demo.stock import PRODUCTS, USERS

Client = TestClient[Any, Any]


@pytest.fixture
async def shops(tmp_path: Path) -> AsyncIterator[dict[str, Client]]:
    clients: dict[str, Client] = {}
    for name in SHOPS:
        clients[name] = TestClient(TestServer(make_app(name, tmp_path)))
        await clients[name].start_server()
    yield clients
    for client in clients.values():
        await client.close()


async def both(
    shops: dict[str, Client], method: str, path: str, **options: Any
) -> tuple[ClientResponse, ClientResponse]:
    legacy = await shops["legacy"].request(method, path, **options)
    new = await shops["new"].request(method, path, **options)
    await legacy.read()
    await new.read()
    return legacy, new


async def test_an_answer_names_its_shop(shops: dict[str, Client]) -> None:
    legacy, new = await both(shops, "GET", "/healthz")
    assert (legacy.headers["Shop"], new.headers["Shop"]) == ("legacy", "new")


async def test_a_price_is_text_in_legacy_and_a_number_in_new(shops: dict[str, Client]) -> None:
    legacy, new = await both(shops, "GET", "/api/products/p1")
    assert await legacy.json() == {"id": "p1", "name": PRODUCTS[0].name, "price": "9.95"}
    assert await new.json() == {"id": "p1", "name": PRODUCTS[0].name, "price": 9.95}


async def test_full_name_became_name(shops: dict[str, Client]) -> None:
    legacy, new = await both(shops, "GET", "/api/users/u2")
    theirs, ours = await legacy.json(), await new.json()
    assert theirs.pop("fullName") == ours.pop("name") == USERS[1].name
    assert theirs == ours


@pytest.mark.parametrize(
    "path",
    ["/api/orders/o1", "/api/orders?user=u1", "/api/legacy/stock/p3", "/api/legacy/report"],
)
async def test_the_rest_is_the_same_byte_for_byte(shops: dict[str, Client], path: str) -> None:
    legacy, new = await both(shops, "GET", path)
    assert (legacy.status, await legacy.read()) == (new.status, await new.read())
    assert legacy.headers["Content-Type"] == new.headers["Content-Type"]


@pytest.mark.parametrize("path", ["/api/products/p0", "/api/users/u0", "/api/orders/o0/receipt"])
async def test_what_is_not_there_is_the_same_404(shops: dict[str, Client], path: str) -> None:
    legacy, new = await both(shops, "GET", path)
    assert (legacy.status, new.status) == (404, 404)
    assert await legacy.read() == await new.read()


async def test_a_receipt_differs_each_time(shops: dict[str, Client]) -> None:
    legacy, new = await both(shops, "GET", "/api/orders/o1/receipt")
    theirs, ours = await legacy.json(), await new.json()
    assert theirs["order"] == ours["order"]
    assert theirs["receipt"] != ours["receipt"]
    assert theirs["printed_at"] != ours["printed_at"]


async def test_a_search_finds_the_same_in_another_order(shops: dict[str, Client]) -> None:
    legacy, new = await both(shops, "GET", "/api/search?q=lamp")
    theirs, ours = (await legacy.json())["items"], (await new.json())["items"]
    assert theirs != ours
    assert sorted(map(str, theirs)) == sorted(map(str, ours))


async def test_the_new_suggestions_fail_now_and_then(shops: dict[str, Client]) -> None:
    statuses = {name: set[int]() for name in shops}
    for _ in range(150):
        legacy, new = await both(shops, "GET", "/api/search/suggest?q=la")
        statuses["legacy"].add(legacy.status)
        statuses["new"].add(new.status)
    assert statuses == {"legacy": {200}, "new": {200, 503}}


async def test_an_order_is_placed_changed_and_cancelled(shops: dict[str, Client]) -> None:
    order = {"id": "x1", "user": "u1", "lines": [{"product": "p1", "quantity": 2}]}
    for made in await both(shops, "POST", "/api/orders", json=order):
        assert (made.status, made.headers["Location"]) == (201, "/api/orders/x1")
    for again in await both(shops, "POST", "/api/orders", json=order):
        assert again.status == 409
    changed = order | {"state": "paid", "lines": []}
    for put in await both(shops, "PUT", "/api/orders/x1", json=changed):
        assert (put.status, await put.json()) == (200, changed)
    for gone in await both(shops, "DELETE", "/api/orders/x1"):
        assert gone.status == 204
    for gone in await both(shops, "DELETE", "/api/orders/x1"):
        assert gone.status == 404


async def test_an_order_without_an_id_gets_one(shops: dict[str, Client]) -> None:
    order = {"user": "u1", "lines": []}
    legacy, new = await both(shops, "POST", "/api/orders", json=order)
    assert legacy.headers["Location"] != new.headers["Location"]


async def test_both_understand_a_user_as_old_clients_send_it(shops: dict[str, Client]) -> None:
    sent = {"fullName": "Ida Holm", "email": "ida@shop.example", "city": "Lyon"}
    legacy, new = await both(shops, "PUT", "/api/users/u900", json=sent)
    assert (legacy.status, (await legacy.json())["fullName"]) == (201, "Ida Holm")
    assert (new.status, (await new.json())["name"]) == (201, "Ida Holm")
    for gone in await both(shops, "DELETE", "/api/users/u900"):
        assert gone.status == 204


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/api/users/u1", b"{"),
        ("PUT", "/api/users/u1", b"[]"),
        ("PUT", "/api/users/u1", b'{"city": {}}'),
        ("POST", "/api/orders", b"{}"),
        ("POST", "/api/orders", b'{"user": "u1", "lines": [{"product": "p1"}]}'),
        ("PUT", "/api/orders/o1", b'{"user": "u1", "lines": 3}'),
        ("GET", "/api/products?page=0", None),
        ("GET", "/api/products?page=x", None),
    ],
)
async def test_nonsense_is_refused_by_both(
    shops: dict[str, Client], method: str, path: str, body: bytes | None
) -> None:
    for refusal in await both(shops, method, path, data=body):
        assert refusal.status == 400
        assert "error" in await refusal.json()


async def test_a_shop_keeps_what_it_was_told_over_a_restart(tmp_path: Path) -> None:
    for name in SHOPS:
        for expected in (201, 200):
            async with TestClient(TestServer(make_app(name, tmp_path))) as client:
                put = await client.put("/api/users/u901", json={"fullName": "Al"})
                assert put.status == expected

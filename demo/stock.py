"""What both shops had on the day the new one was opened: the same goods, people and orders.

Plain values made by arithmetic, so that every start of the demo is the same.
"""

from dataclasses import dataclass

ADJECTIVES = ("oak", "brass", "linen", "blue", "small", "heavy", "folding", "woven")
NOUNS = ("lamp", "chair", "kettle", "basket", "clock", "mirror", "shelf", "stool", "vase", "rug")
FIRST_NAMES = ("Ada", "Björn", "Chidi", "Dana", "Emre", "Fen", "Grace", "Hugo")
LAST_NAMES = ("Okafor", "Lindqvist", "Moreau", "Sato", "Núñez")
CITIES = ("Porto", "Uppsala", "Accra", "Kobe", "Lyon", "Cusco")
STATES = ("open", "paid", "sent")


@dataclass(frozen=True)
class Product:
    """A thing on sale; the price is in cents so that it is exact."""

    id: str
    name: str
    cents: int
    stock: int


@dataclass(frozen=True)
class User:
    """Somebody with an account."""

    id: str
    name: str
    email: str
    city: str


@dataclass(frozen=True)
class Order:
    """What a user bought: product ids with how many of each."""

    id: str
    user: str
    lines: tuple[tuple[str, int], ...]
    state: str


PRODUCTS = tuple(
    Product(
        id=f"p{index + 1}",
        name=f"{adjective} {noun}",
        cents=995 + 350 * (index * 7 % 41),
        stock=index * 13 % 50,
    )
    for index, (adjective, noun) in enumerate((a, n) for a in ADJECTIVES for n in NOUNS)
)

USERS = tuple(
    User(
        id=f"u{index + 1}",
        name=f"{first} {last}",
        email=f"{first.lower()}.{index + 1}@shop.example",
        city=CITIES[index % len(CITIES)],
    )
    for index, (first, last) in enumerate((f, n) for f in FIRST_NAMES for n in LAST_NAMES)
)

ORDERS = tuple(
    Order(
        id=f"o{index + 1}",
        user=USERS[index * 3 % len(USERS)].id,
        lines=tuple(
            (PRODUCTS[(index * 11 + line * 17) % len(PRODUCTS)].id, 1 + (index + line) % 3)
            for line in range(1 + index % 3)
        ),
        state=STATES[index % len(STATES)],
    )
    for index in range(120)
)

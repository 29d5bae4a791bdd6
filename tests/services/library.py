"""A small library in SQLite, and everything that both versions of Datasette are asked about it."""

import sqlite3
from pathlib import Path

QUERIES = {"late": {"sql": "select id, title from books where year > :year", "title": "Late ones"}}
TITLE = {"title": "The library"}
LOANS = 3000  # as CSV more than `shadow.max_body`

SCHEMA = """
create table authors (id integer primary key, name text not null, born integer);
create table books (id integer primary key, title text, author_id integer references authors(id),
    year integer, price real, tags text, cover blob);
create table loans (id integer primary key, book_id integer references books(id), note text);
create table shelves (room text, shelf integer, label text, primary key (room, shelf));
create table tags (tag text primary key) without rowid;
create table plain (a, b);
create table "odd name/with.dots & ~ %" (id integer primary key, "a column, odd" text);
create view recent as select id, title, year from books where year > 1990;
create virtual table books_fts using fts5(title, content="books", content_rowid="id");
"""


def make(path: Path) -> None:
    """The database, filled the same way every time."""
    with sqlite3.connect(path) as database:
        database.executescript(SCHEMA)
        fill = database.executemany
        fill(
            "insert into authors values (?, ?, ?)",
            ((n, f"Author {n} Ünïcødé ✓", 1850 + n) for n in range(1, 41)),
        )
        fill(
            "insert into books values (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    n,
                    f"Title {n} <b>&amp; 'quoted' \"twice\"\nsecond line",
                    n % 40 + 1,
                    1900 + n % 125,
                    n / 7 if n % 9 else None,
                    f'["tag{n % 5}", "tag{n % 3}"]',
                    bytes(range(256)) if n == 1 else None,
                )
                for n in range(1, 1501)
            ),
        )
        fill(
            "insert into loans values (?, ?, ?)",
            (
                (n, n % 1500 + 1, f"lent, and returned: {n} times " * 20)
                for n in range(1, LOANS + 1)
            ),
        )
        fill(
            "insert into shelves values (?, ?, ?)",
            ((room, n, f"{room}-{n}") for room in ("a", "b/c", "d,e", "ä", "") for n in range(3)),
        )
        fill("insert into tags values (?)", ((f"tag{n}",) for n in range(5)))
        fill("insert into plain values (?, ?)", ((1, None), ("two", 2.5), (b"\x00\xff", "")))
        database.execute("""insert into "odd name/with.dots & ~ %" values (1, 'odd')""")
        database.execute("insert into books_fts (rowid, title) select id, title from books")
    database.close()


ODD = "odd~20name~2Fwith~2Edots~20~26~20~7E~20~25"
BOOKS = "/library/books"
TABLES = ("authors", "books", "shelves", "tags", "plain", "recent", ODD, "books_fts")
INTERNAL = (
    *("metadata", "versions", "plugins", "settings", "config", "threads", "databases", "actor"),
    # These are of 1.0 only; the answer of legacy is a 404.
    *("schema", "jump", "queries", "allowed"),
)
SQL = "select+id%2C+title%2C+price+from+books+where+id+%3C+%3An+order+by+id"

TARGETS = (
    *("/", "/.json", "/favicon.ico", "/library", "/library.json", "/library.db", "/_memory"),
    *(f"/-/{name}{suffix}" for name in INTERNAL for suffix in ("", ".json")),
    *("/-/permissions", "/-/messages", "/-/allow-debug", "/-/patterns", "/-/logout"),
    *("/-/auth-token", "/-/auth-token?token=wrong", "/-/create-token", "/-/api"),
    # Static files: the service's own, and those of the site.
    *("/-/static/app.css", "/-/static/table.js", "/-/static/favicon.png", "/-/static/none.js"),
    *("/assets/page.html", "/assets/large.bin", "/assets/empty.txt", "/assets/none"),
    *("/assets/../routes.yaml", "/assets/%2e%2e/x"),
    # Tables, views and rows in every form.
    *(f"/library/{table}{suffix}" for table in TABLES for suffix in ("", ".json", ".csv")),
    *(f"{BOOKS}/1{suffix}" for suffix in ("", ".json", ".blob?_blob_column=cover")),
    *("/library/tags/tag1", "/library/tags/tag1.json", f"/library/{ODD}/1"),
    *("/library/shelves/a,1", "/library/shelves/b~2Fc,0.json", "/library/shelves/~C3~A4,2"),
    *(f"{BOOKS}/99999", f"{BOOKS}/99999.json", "/library/none", "/library/none.json", "/none"),
    *("/library/books.xml", "/library/books/", "/library/recent/1", "/library/plain/2.json"),
    *("//library", "/library/-/schema"),
    # How rows are chosen, and how they are shown.
    *(f"{BOOKS}.json?_shape={shape}" for shape in ("array", "arrays", "object", "none")),
    *(f"{BOOKS}.json?{more}" for more in ("_shape=array&_nl=on", "_json=tags")),
    *(f"{BOOKS}.json?{more}" for more in ("_size=max", "_size=0", "_size=3&_next=6", "_size=none")),
    *(f"{BOOKS}.json?{more}" for more in ("_labels=on&_size=3", "_col=title&_nocol=year")),
    *(f"{BOOKS}.json?{more}" for more in ("_sort=year", "_sort_desc=price&_size=5", "_sort=none")),
    *(f"{BOOKS}.json?{more}" for more in ("_extra=count,columns", "_nocount=1", "_trace=1")),
    *(f"{BOOKS}{form}?year__gt=2000&author_id=7" for form in ("", ".json", ".csv")),
    *(f"{BOOKS}{form}?title__contains=%3Cb%3E&_size=2" for form in ("", ".json", ".csv")),
    *(f"{BOOKS}{form}?_facet=author_id&_facet_array=tags&_size=2" for form in ("", ".json")),
    *(f"{BOOKS}{form}?_search=title+7&_size=2" for form in ("", ".json")),
    *(f"{BOOKS}{form}?_where=year%3D1950" for form in ("", ".json")),
    *(f"{BOOKS}.csv?{more}" for more in ("_stream=on", "_labels=on&_size=5", "_header=off")),
    f"{BOOKS}.csv?_dl=on",
    *(f"/library.{form}?sql={SQL}&n=5" for form in ("json", "csv")),
    *(f"/library?sql={SQL}&n=5", f"/library/-/query.json?sql={SQL}&n=5", "/library.json?sql="),
    *("/library.json?sql=select+no+such", "/library?sql=delete+from+books"),
    "/library.json?sql=%00",
    *(f"/library/late{form}?year=2020" for form in ("", ".json", ".csv")),
)  # fmt: skip
# More than `shadow.max_body`: the client gets all of it, but nothing is compared.
LARGE_TARGETS = ("/library/loans.csv?_stream=on", "/library/loans.csv?_stream=on&_labels=on")

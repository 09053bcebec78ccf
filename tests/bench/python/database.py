"""SQLite in memory, driven from Python: inserts, joins, aggregates, functions in Python."""

import sqlite3


def work():
    db = sqlite3.connect(":memory:")
    db.execute("create table author (id integer primary key, name text)")
    db.execute("create table book (id integer primary key, author int, title text, year int)")
    db.executemany("insert into author values (?, ?)", [(i, f"author {i}") for i in range(80)])
    db.executemany("insert into book (author, title, year) values (?, ?, ?)",
                   [(i * 7 % 80, f"title {i * 31 % 997}", 1900 + i % 120) for i in range(4_000)])
    db.create_function("twice", 1, lambda x: x * 2)
    db.execute("create index by_year on book (year)")
    grouped = db.execute("""select name, count(*), min(title), sum(twice(year)) from book
        join author on author.id = book.author where year between 1920 and 1999
        group by name order by 2 desc, 1""").fetchall()
    rows = sum(len(title) + year for _, title, year in
               db.execute("select author, title, year from book order by title, id"))
    like = [db.execute("select count(*) from book where title like ? and year > ?",
                       (f"%{i}%", 1900 + i)).fetchone()[0] for i in range(12)]
    db.execute("update book set title = upper(title) || '!' where id % 3 = 0")
    last = db.execute("select group_concat(title) from (select title from book limit 5)").fetchone()
    db.close()
    return grouped[:5], rows, like, last

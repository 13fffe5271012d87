"""The application `sqlite` of test_apps."""

import asyncio

import aiosqlite


async def main():
    async with aiosqlite.connect("/tmp/app.db") as db:
        await db.execute("pragma journal_mode = wal")
        await db.execute("create table if not exists rows (id integer primary key, text)")
        await db.executemany("insert into rows (text) values (?)", [(f"{number} ü",) for number in range(1000)])
        await db.commit()
        async with db.execute("select count(*), max(text) from rows") as cursor:
            return await cursor.fetchone()


loop = asyncio.new_event_loop()


def handler(event, context):
    count, largest = loop.run_until_complete(main())
    return {"count": count, "largest": largest}

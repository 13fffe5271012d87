"""The application `async` of test_apps."""

import asyncio
import json

import aiofiles


async def work(number):
    await asyncio.sleep(0.05)
    return number * number


async def main():
    squares = await asyncio.gather(*(work(number) for number in range(50)))
    async with aiofiles.open("/tmp/lines.txt", "a") as file:
        await file.write("line\n")
    async with aiofiles.open("/tmp/lines.txt") as file:
        return {"sum": sum(squares), "lines": len(await file.readlines())}


def lambda_handler(event, context):
    return {"statusCode": 200, "body": json.dumps(asyncio.run(main()))}

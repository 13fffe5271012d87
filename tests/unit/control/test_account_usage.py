"""What an account has stored."""

from pathlib import Path

from tests.unit.control.support import open_plane


async def test_every_version_counts_until_it_is_gone(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        usage = plane.control.usage
        assert (usage.functions, usage.code_bytes) == (0, 0)
        await plane.create("f", code=b"12345")
        await plane.create("g", code=b"12345", Publish=True)
        assert (usage.functions, usage.code_bytes) == (2, 15)
        layer = await plane.layers.publish("l", {"Content": {"ZipFile": b"123"}})
        assert usage.code_bytes == 18
    async with open_plane(tmp_path) as plane:
        usage = plane.control.usage
        assert (usage.functions, usage.code_bytes) == (2, 18)
        await plane.layers.delete("l", layer.number)
        await plane.deployment.delete("g")
        assert (usage.functions, usage.code_bytes) == (1, 5)

"""The code store: what it gives back, what it refuses, what survives a crash, what is collected."""

import asyncio
import base64
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import CodeError, InvalidParameterValue, RequestEntityTooLarge, ServiceError
from hanabi.images.code import code_store, unzip
from hanabi.images.code.code_store import CodeStore, StoredCode
from hanabi.images.trash import TRASH_S, UNUSED_S
from hanabi.testing import ManualClock
from tests.unit.images.aging import pass_time
from tests.unit.images.archives import Entry, make, simple

ZIP = simple(lambda_function__py=b"def handler(event, context): ...\n")


async def in_store(directory: Path, use: Callable[[CodeStore], Coroutine[Any, Any, Any]], clock: ManualClock | None = None) -> Any:
    store = CodeStore(directory, clock)
    await store.open()
    return await use(store)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {"unused", "trash"}


async def test_stored_code_is_known_by_lambdas_hash(tmp_path: Path) -> None:
    stored: StoredCode = await in_store(tmp_path / "code", lambda store: store.store(ZIP))
    digest = hashlib.sha256(ZIP)
    assert stored.sha256 == base64.b64encode(digest.digest()).decode()
    assert stored.size == len(ZIP)
    assert stored.path == tmp_path / "code" / digest.hexdigest() / "task"
    assert (stored.path / "lambda_function.py").read_text().startswith("def handler")
    assert CodeStore(tmp_path / "code").zip_path(stored.sha256).read_bytes() == ZIP


async def test_functions_may_read_what_is_mounted_and_other_users_nothing_else(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        stored: StoredCode = await in_store(tmp_path / "code", lambda store: store.store(ZIP))
    finally:
        os.umask(umask)
    assert stored.path.stat().st_mode & 0o777 == 0o755
    assert (stored.path / "lambda_function.py").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "code").stat().st_mode & 0o777 == 0o700


async def test_a_spooled_file_is_copied(tmp_path: Path) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(ZIP)
    stored: StoredCode = await in_store(tmp_path / "code", lambda store: store.store(spooled))
    spooled.unlink()
    assert (stored.path.parent / "code.zip").read_bytes() == ZIP


async def test_many_uploads_of_the_same_bytes_at_once(tmp_path: Path) -> None:
    async def upload(store: CodeStore) -> list[StoredCode]:
        other = CodeStore(tmp_path / "code")  # as another process would
        return await asyncio.gather(*(each.store(ZIP) for each in (store, other) * 5))

    assert len(set(await in_store(tmp_path / "code", upload))) == 1
    assert names(tmp_path / "code") == {hashlib.sha256(ZIP).hexdigest()}


@pytest.mark.parametrize(
    "archive",
    [
        make([Entry(name=b"big.bin", data=os.urandom(code_store.INLINE_LIMIT_BYTES))]),
        make([Entry(name=b"%d.txt" % number) for number in range(1000)]),
        make([Entry(name=b"a")], comment=b"where an end record is not looked for"),
    ],
    ids=["large", "many files", "comment"],
)
async def test_what_is_not_quick_is_unpacked_in_a_process(tmp_path: Path, archive: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def must_not_run(*_: object) -> None:
        raise AssertionError("unpacked in the server")

    monkeypatch.setattr(unzip, "unpack", must_not_run)
    stored: StoredCode = await in_store(tmp_path / "code", lambda store: store.store(archive))
    with zipfile.ZipFile(stored.path.parent / "code.zip") as source:
        assert names(stored.path) == set(source.namelist())


async def test_a_process_that_refuses(tmp_path: Path) -> None:
    archive = make([Entry(name=b"big.bin", data=os.urandom(code_store.INLINE_LIMIT_BYTES)), Entry(name=b"../evil")])
    with pytest.raises(InvalidParameterValue, match="Could not unzip uploaded file. Please check your file, then try to upload again."):
        await in_store(tmp_path / "code", lambda store: store.store(archive))
    assert names(tmp_path / "code") == set()


async def test_a_process_that_breaks_is_not_the_zips_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("raise OSError('the disk is full')\n")
    monkeypatch.setattr(unzip, "__file__", str(tmp_path / "broken.py"))
    archive = make([Entry(name=b"big.bin", data=os.urandom(code_store.INLINE_LIMIT_BYTES))])
    with pytest.raises(ServiceError, match="the disk is full"):
        await in_store(tmp_path / "code", lambda store: store.store(archive))
    assert names(tmp_path / "code") == set()


async def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hanging.py").write_text("import time; time.sleep(60)\n")
    monkeypatch.setattr(unzip, "__file__", str(tmp_path / "hanging.py"))
    monkeypatch.setattr(code_store, "UNPACK_S", 0.1)
    archive = make([Entry(name=b"big.bin", data=os.urandom(code_store.INLINE_LIMIT_BYTES))])
    with pytest.raises(InvalidParameterValue):
        await in_store(tmp_path / "code", lambda store: store.store(archive))


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "Uploaded file must be a non-empty zip"),
        (make([]), "Uploaded file must be a non-empty zip"),
        (b"no zip", "Could not unzip uploaded file. Please check your file, then try to upload again."),
        (make([Entry(name=b"bomb", size=262_144_000)]), "Unzipped size must be smaller than 262144000 bytes"),
    ],
)
async def test_lambdas_words(tmp_path: Path, blob: bytes, message: str) -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        await in_store(tmp_path / "code", lambda store: store.store(blob))
    assert caught.value.message == message
    assert names(tmp_path / "code") == set()


async def test_a_zip_over_what_250_mb_could_have(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(300 * 1024 * 1024 + 1)
    with pytest.raises(RequestEntityTooLarge):
        await in_store(tmp_path / "code", lambda store: store.store(sparse))


async def test_what_a_crash_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / "code" / "incoming-1" / "task"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    await in_store(tmp_path / "code", lambda store: store.store(ZIP))
    assert names(tmp_path / "code") == {hashlib.sha256(ZIP).hexdigest()}


async def test_collect_keeps_what_is_referenced(tmp_path: Path) -> None:
    async def use(store: CodeStore) -> tuple[StoredCode, StoredCode]:
        kept, dropped = await store.store(ZIP), await store.store(simple(a=b"1"))
        await pass_time(clock, UNUSED_S - 60, lambda: store.collect({kept.path}))
        assert dropped.path.is_dir()
        await pass_time(clock, 60, lambda: store.collect({kept.path}))
        return kept, dropped

    clock = ManualClock()
    kept, dropped = await in_store(tmp_path / "code", use, clock)
    assert kept.path.is_dir()
    assert names(tmp_path / "code") == {kept.path.parent.name}
    assert not dropped.path.exists()


async def test_collect_spares_what_is_being_uploaded(tmp_path: Path) -> None:
    """Uploads that end while garbage is collected: nobody refers to them yet, and they must be there afterwards."""

    async def use(store: CodeStore) -> list[StoredCode]:
        await store.store(ZIP)
        for _ in range(20):
            await clock.advance(UNUSED_S)
            *stored, _ = await asyncio.gather(*(store.store(ZIP) for _ in range(4)), store.collect(set()), store.store(simple(a=b"1")))
            assert all((each.path / "lambda_function.py").is_file() for each in stored if each is not None)
        return [each for each in stored if each is not None]

    clock = ManualClock()
    assert all(each.path.is_dir() for each in await in_store(tmp_path / "code", use, clock))


async def test_collected_code_can_be_uploaded_again(tmp_path: Path) -> None:
    async def use(store: CodeStore) -> StoredCode:
        stored = await store.store(ZIP)
        for gone_s in (0.0, TRASH_S):  # it is in the trash, and then it is not even there
            await pass_time(clock, UNUSED_S + gone_s, lambda: store.collect(set()))
            assert names(tmp_path / "code") == set()
            assert (tmp_path / "code" / "trash" / stored.path.parent.name).exists() == (not gone_s)
            assert await store.store(ZIP) == stored and (stored.path / "lambda_function.py").is_file()
            assert not (tmp_path / "code" / "trash" / stored.path.parent.name).exists()
        return stored

    clock = ManualClock()
    assert (await in_store(tmp_path / "code", use, clock)).path.is_dir()


async def test_the_loop_goes_on_while_a_large_zip_is_stored(tmp_path: Path) -> None:
    """Hashing, copying and unpacking 8 MB: the loop is never held for long, whatever the machine."""
    archive = make([Entry(name=b"%d.bin" % number, data=os.urandom(1 << 20)) for number in range(8)])

    async def use(store: CodeStore) -> int:
        turns, task = 0, asyncio.create_task(store.store(archive))
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        await task
        return turns

    assert await in_store(tmp_path / "code", use) >= 5


# --- what a copy or an accident has left --------------------------------------------------------------------------------


async def fix(directory: Path, damage: Callable[[Path], None]) -> tuple[StoredCode, CodeError | None]:
    """Code is stored and then damaged; what is found then by another store, as at the next start."""
    stored: StoredCode = await in_store(directory, lambda store: store.store(ZIP))
    damage(stored.path.parent)
    faults = await in_store(directory, lambda store: store.find({stored.sha256}))
    assert faults.keys() <= {stored.sha256}
    return stored, faults.get(stored.sha256)


def lose_tree(place: Path) -> None:
    shutil.rmtree(place / "task")


def empty_tree(place: Path) -> None:
    shutil.rmtree(place / "task")
    (place / "task").mkdir()


@pytest.mark.parametrize("damage", [lose_tree, empty_tree])
async def test_a_tree_that_is_gone_is_unpacked_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    stored, fault = await fix(tmp_path / "code", damage)
    assert fault is None and (stored.path / "lambda_function.py").is_file()
    assert names(tmp_path / "code") == {stored.path.parent.name}


def damage_zip(place: Path) -> None:
    shutil.rmtree(place / "task")
    (place / "code.zip").write_bytes(simple(lambda_function__py=b"another"))


def lose_zip(place: Path) -> None:
    shutil.rmtree(place / "task")
    (place / "code.zip").unlink()


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [(damage_zip, "InvalidZipFileException", "damaged"), (lose_zip, "InternalError", "not there"), (shutil.rmtree, "InternalError", "")],
)  # fmt: skip
async def test_what_cannot_be_mended_is_named_until_it_is_uploaded_again(
    tmp_path: Path, damage: Callable[[Path], None], code: str, said: str
) -> None:
    stored, fault = await fix(tmp_path / "code", damage)
    assert fault is not None and fault.code == code and said in str(fault) and f"code/{stored.path.parent.name}" in str(fault)
    assert "Upload the same zip again" in str(fault) and str(tmp_path) not in str(fault)
    assert await in_store(tmp_path / "code", lambda store: store.store(ZIP)) == stored
    assert await in_store(tmp_path / "code", lambda store: store.find({stored.sha256})) == {}
    assert (stored.path / "lambda_function.py").read_text().startswith("def handler")
    assert (stored.path.parent / "code.zip").read_bytes() == ZIP


async def test_what_is_referred_to_comes_back_from_the_trash(tmp_path: Path) -> None:
    clock = ManualClock()

    async def use(store: CodeStore) -> None:
        stored = await store.store(ZIP)
        await pass_time(clock, UNUSED_S, lambda: store.collect(set()))
        assert not stored.path.exists()
        assert await store.find({stored.sha256}) == {} and (stored.path / "lambda_function.py").is_file()
        await store.collect(set())
        assert stored.path.exists()  # its day begins anew

    await in_store(tmp_path / "code", use, clock)


async def test_many_who_mend_at_once(tmp_path: Path) -> None:
    async def use(store: CodeStore) -> None:
        stored = await store.store(ZIP)
        for _ in range(10):
            lose_tree(stored.path.parent)
            *found, again = await asyncio.gather(*(store.find({stored.sha256}) for _ in range(4)), store.store(ZIP))
            assert found == [{}] * 4 and again == stored and (stored.path / "lambda_function.py").is_file()

    await in_store(tmp_path / "code", use)


async def test_a_copy_made_under_a_narrow_umask_is_opened_up(tmp_path: Path) -> None:
    def narrow(place: Path) -> None:
        for path in [*place.rglob("*"), place]:
            path.chmod(0o700 if path.is_dir() else 0o600)

    stored, fault = await fix(tmp_path / "code", narrow)
    opened = (stored.path.parent, stored.path, stored.path / "lambda_function.py")
    assert fault is None and [path.stat().st_mode & 0o777 for path in opened] == [0o711, 0o755, 0o644]


async def test_unpacked_code_is_measured(tmp_path: Path) -> None:
    async def use(store: CodeStore) -> int:
        return await store.measure((await store.store(simple(a__py=b"12345", b__py=b"x" * 1000))).sha256)

    assert await in_store(tmp_path / "code", use) == 1005

"""The runtimes as data: whole, pinned, and with the digests that their roots were built under."""

import pytest

from hanabi.images.runtimes import recipes
from hanabi.images.runtimes.names import NAMES
from hanabi.images.runtimes.recipes import RECIPES, RUNTIMES, Recipe, base_environment, boto3_lock, digest_recipe, locks


def test_each_runtime_is_lambdas_and_has_a_recipe_and_a_start() -> None:
    for name, runtime in RUNTIMES.items():
        assert name in NAMES and runtime.recipe in RECIPES
        assert bool(runtime.command) + bool(runtime.own_bootstrap) == (0 if name.startswith("provided") else 1), name
        assert runtime.environment.get("AWS_EXECUTION_ENV", "") == ("" if name.startswith("provided") else f"AWS_Lambda_{name}")


def test_what_is_added_to_packages_is_pinned_by_hash() -> None:
    for recipe in RECIPES.values():
        added = recipe.python or recipe.cpython or recipe.java or recipe.node or recipe.sdk
        assert all(path.is_file() for path in locks(recipe)) and bool(locks(recipe)) == bool(added)
    assert (boto3_lock("3.9").name, boto3_lock("3.12").name) == ("boto3-3.9.txt", "boto3.txt")


def test_a_field_that_a_recipe_does_not_use_does_not_build_its_root_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_recipe("provided")
    monkeypatch.setattr(recipes, "_LATER", ())
    assert digest_recipe("provided") != before
    monkeypatch.undo()
    monkeypatch.setitem(RECIPES, "other", Recipe(suite="bookworm", rolling=True))
    monkeypatch.setitem(RECIPES, "one", Recipe(suite="bookworm"))
    assert digest_recipe("other") != digest_recipe("one")


def test_the_environment_of_awss_images_is_lambdas() -> None:
    assert base_environment("java21")["AWS_EXECUTION_ENV"] == "AWS_Lambda_java21"
    assert "AWS_EXECUTION_ENV" not in base_environment("provided.al2023")
    assert "/var/lang" in base_environment("provided.al2023")["PATH"] and "/var/lang" not in base_environment("provided.al2")["PATH"]

"""Settings from flags and variables."""

from pathlib import Path

import pytest

from hanabi.errors import IsolationUnavailable
from hanabi.node.config import NodeSettings, SettingsError, default_data_dir, guest_dir, is_loopback, load_settings
from hanabi.node.drivers import choose_driver


def test_the_defaults() -> None:
    settings = load_settings({}, {"HANABI_DATA_DIR": "/data"})
    assert settings == NodeSettings(data_dir=Path("/data"), images_dir=Path("/data/images"))
    assert (settings.host, settings.port, settings.region, settings.account) == ("127.0.0.1", 9555, "us-east-1", "000000000000")
    assert settings.keys_file == Path("/data/keys.json")


def test_a_flag_wins_over_a_variable() -> None:
    variables = {"HANABI_PORT": "1000", "HANABI_POOL_SIZE": "7", "HANABI_ALLOW_NET": "10.0.0.0/8,192.168.1.0/24"}
    settings = load_settings({"port": "2000", "data_dir": "~/x", "pool_size": None}, variables)
    assert (settings.port, settings.pool_size, settings.allow_net) == (2000, 7, ("10.0.0.0/8", "192.168.1.0/24"))
    assert settings.data_dir == Path.home() / "x"


def test_every_spelling_of_a_directory_is_the_same_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, through a symbolic link, with dots; and what is looked for beside a program is beside the link to it."""
    real, disk = tmp_path.resolve() / "real", tmp_path.resolve() / "disk"
    for directory in (real, disk):
        directory.mkdir()
    (tmp_path / "link").symlink_to(real)
    (real / "images").symlink_to(disk)
    (real / "code").symlink_to("../disk/code")  # not there yet
    (tmp_path / "firecracker").symlink_to(disk / "firecracker-v1")
    monkeypatch.chdir(tmp_path)
    for spelled in ("real", "link", "./real/../link/", str(tmp_path / "link")):
        settings = load_settings({"data_dir": spelled, "firecracker": "./firecracker"}, {})
        assert (settings.data_dir, settings.images_dir) == (real, disk)
        assert (settings.directory("code"), settings.directory("run")) == (disk / "code", real / "run")
        assert settings.firecracker == tmp_path.resolve() / "firecracker"
    assert load_settings({}, {"XDG_DATA_HOME": str(tmp_path / "link"), "HANABI_IMAGES_DIR": "link"}).images_dir == real


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", "0", "--port: '0' is not a whole number from 1 to 65535"),
        ("port", "http", "--port: 'http' is not a whole number"),
        ("isolation", "none", "--isolation: 'none' is none of auto, firecracker, oci, process"),
        ("auth", "some", "--auth: 'some' is none of keys, none"),
        ("roles", "none", "--roles: 'none' is none of strict, lenient, any"),
        ("iam", "strict", "--iam: 'strict' is none of default, enforce"),
        ("account", "123", "--account: '123' is not an account id of 12 digits"),
        ("region", "here", "--region: 'here' is not an AWS region"),
        ("max_memory_mb", "127", "--max-memory-mb: '127' is not a whole number from 128"),
        ("trim_after_s", "0", "--trim-after-s: '0' is not a number of seconds"),
        ("stream_mb_s", "-1", "--stream-mb-s: '-1' is no number of MB a second; 0: no limit"),
        ("stream_mb_s", "nan", "--stream-mb-s: 'nan' is no number of MB a second; 0: no limit"),
        ("idle_timeout_s", "-1", "--idle-timeout-s: '-1' is not a number of seconds"),
        ("idle_timeout_s", "nan", "--idle-timeout-s: 'nan' is not a number of seconds"),
        ("allow_net", ["10.0.0.1/8"], "--allow-net: 10.0.0.1/8 has host bits set"),
        ("insecure_registry", ["http://r.example"], "--insecure-registry: 'http://r.example' is not a registry's host, or host:port"),
        ("runtimes", "debian", "--runtimes: 'debian' is none of auto, aws, distribution"),
        ("registry_mirror", "https://r.example", "--registry-mirror: 'https://r.example' is not HOST[:PORT][/PREFIX]"),
        ("runtimes_missing", "ignore", "--runtimes-missing: 'ignore' is none of refuse, pending"),
        ("runtime_substitute", ["python3.12"], "--runtime-substitute: 'python3.12' is not RUNTIME=RUNTIME"),
        ("runtime_substitute", "python3.12=nodejs22.x", "--runtime-substitute: 'python3.12=nodejs22.x' is not"),
        ("runtime_substitute", "python3.9=python3.10,python3.10=python3.11", "--runtime-substitute: a runtime has one substitute at most"),
        ("data_dir", "", "--data-dir: a path is needed"),
        ("host", "a b", "--host: 'a b' is not a host name or address"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: value}, {})
    assert str(caught.value).startswith(message)


def test_a_variable_is_named_when_it_is_wrong() -> None:
    with pytest.raises(SettingsError, match="^HANABI_INSECURE: 'maybe' is neither 1 nor 0"):
        load_settings({}, {"HANABI_INSECURE": "maybe"})


def test_others_may_listen_only_when_that_is_meant() -> None:
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.com"):
        with pytest.raises(SettingsError, match="--insecure"):
            load_settings({"host": host}, {})
        assert load_settings({"host": host, "insecure": True}, {}).host == host
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "localhost.example.com", "")))


def test_where_runtimes_come_from(tmp_path: Path) -> None:
    flags = {
        "data_dir": tmp_path,
        "registry_mirror": "r.example:5000/aws",
        "runtime_substitute": ["python3.12=python3.13", "nodejs16.x=nodejs20.x"],
    }
    sources = load_settings(flags, {"HANABI_RUNTIME_IMAGES": str(tmp_path / "x"), "HANABI_RUNTIMES_MISSING": "pending"}).runtime_sources
    assert (sources.choice, sources.mirror, sources.layouts, sources.missing) == ("auto", "r.example:5000/aws", tmp_path / "x", "pending")
    assert sources.substitutes == {"python3.12": "python3.13", "nodejs16.x": "nodejs20.x"}
    assert load_settings({"data_dir": tmp_path, "isolation": "process"}, {}).runtime_sources.choice == "distribution"
    with pytest.raises(SettingsError, match="--runtimes aws is of no use with --isolation process"):
        load_settings({"data_dir": tmp_path, "isolation": "process", "runtimes": "aws"}, {})


def test_where_state_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data_dir({"XDG_DATA_HOME": "/elsewhere"}) == Path("/var/lib/hanabi")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_data_dir({"XDG_DATA_HOME": "/elsewhere"}) == Path("/elsewhere/hanabi")
    assert default_data_dir({"XDG_DATA_HOME": ""}) == Path.home() / ".local/share/hanabi"


def test_the_guest_is_found() -> None:
    assert (guest_dir() / "python" / "bootstrap.py").is_file()


def test_no_network_at_all_goes_with_nothing_that_opens_it(tmp_path: Path) -> None:
    flags = {"data_dir": tmp_path, "no_network": True}
    assert load_settings(flags, {}).no_network and load_settings({"data_dir": tmp_path}, {"HANABI_NO_NETWORK": "1"}).no_network
    with pytest.raises(SettingsError, match="--no-network and --allow-net contradict each other"):
        load_settings({**flags, "allow_net": ["10.0.0.0/8"]}, {})
    with pytest.raises(IsolationUnavailable, match="--no-network"):
        choose_driver(load_settings({**flags, "isolation": "process"}, {}))


def test_no_authentication_is_for_loopback_and_for_sandboxes_that_are_closed() -> None:
    assert load_settings({"auth": "none"}, {}).auth == load_settings({}, {"HANABI_AUTH": "none"}).auth == "none"
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.com"):
        with pytest.raises(SettingsError, match=f"--auth none is for loopback only, and --host {host} is not"):
            load_settings({"auth": "none", "host": host, "insecure": True}, {})
    with pytest.raises(SettingsError, match="--auth none is refused with --isolation process"):
        load_settings({"auth": "none", "isolation": "process"}, {})


@pytest.mark.parametrize("isolation", ["oci", "process"])
def test_what_only_microvms_use_is_not_silently_unused(tmp_path: Path, isolation: str) -> None:
    flags = {"data_dir": tmp_path, "isolation": isolation}
    with pytest.raises(SettingsError, match=f"--kernel: of no use with --isolation {isolation}, which makes no microVMs"):
        load_settings({**flags, "kernel": "vmlinux"}, {})
    with pytest.raises(SettingsError, match="--firecracker, --jailer: of no use"):
        load_settings(flags, {"HANABI_FIRECRACKER": "firecracker", "HANABI_JAILER": "jailer"})
    assert load_settings({**flags, "isolation": "auto", "kernel": "vmlinux"}, {}).kernel == Path("vmlinux").absolute()


def test_layers_of_other_accounts_come_from_a_directory_or_a_url(tmp_path: Path) -> None:
    for given, meant in (("https://example.org/layers", "https://example.org/layers"), (f"{tmp_path}/a/../b", f"{tmp_path}/b")):
        assert load_settings({"data_dir": tmp_path, "layer_source": given}, {}).layer_source == meant
    assert load_settings({"data_dir": tmp_path}, {"HANABI_LAYER_SOURCE": str(tmp_path)}).layer_source == str(tmp_path)
    assert load_settings({"data_dir": tmp_path}, {}).layer_source == ""


def test_the_s3_of_the_environment_counts_where_no_flag_names_one() -> None:
    variables = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    assert load_settings({}, variables).s3_endpoint == "http://127.0.0.1:1"
    assert load_settings({}, {**variables, "HANABI_S3_ENDPOINT": "http://127.0.0.1:2"}).s3_endpoint == "http://127.0.0.1:2"
    assert load_settings({"s3_endpoint": "http://127.0.0.1:3"}, variables).s3_endpoint == "http://127.0.0.1:3"


def test_roles_are_as_strict_as_who_may_call(tmp_path: Path) -> None:
    def roles(**flags: str) -> str:
        return load_settings({"data_dir": tmp_path, **flags}, {}).roles

    assert (roles(), roles(auth="none"), roles(auth="none", roles="strict")) == ("strict", "any", "strict")
    assert roles(auth="none", iam="enforce") == roles(iam="enforce") == "strict"
    with pytest.raises(SettingsError, match="--iam enforce and --roles lenient contradict each other"):
        roles(iam="enforce", roles="lenient")

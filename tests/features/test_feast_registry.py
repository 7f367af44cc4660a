"""The registry is swapped whole: whoever reads while it is written sees all of it."""

import multiprocessing

import pytest
from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.repo_config import RegistryConfig

from features.feast_place import FeastPlace
from features.feast_registry import SwappedRegistryStore
from features.feast_store import FeastStore
from serving.settings import DataSettings

SPAWN = multiprocessing.get_context("spawn")
ROUNDS = 4


def apply_often(folder, online, started):
    started.wait(60)
    for _ in range(ROUNDS):
        FeastStore(folder, online=online).apply()


def views_in(file):
    registry = Registry.FromString(file.read_bytes())
    return {view.spec.name for view in registry.feature_views}


@pytest.mark.long
def test_of_two_appliers_at_once_no_reader_ever_sees_half_a_registry(tmp_path):
    folder, online = tmp_path / "feast", tmp_path / "online.sqlite"
    FeastStore(folder, online=online).apply()
    whole, file = views_in(folder / "registry.db"), folder / "registry.db"
    started = SPAWN.Barrier(3)
    appliers = [SPAWN.Process(target=apply_often, args=(folder, online, started)) for _ in "12"]
    for applier in appliers:
        applier.start()
    started.wait(60)
    reads, versions = 0, set()
    while any(applier.is_alive() for applier in appliers):
        registry = Registry.FromString(file.read_bytes())
        assert {view.spec.name for view in registry.feature_views} == whole
        versions.add(registry.version_id)
        reads += 1
    assert [applier.exitcode for applier in appliers] == [0, 0]
    assert reads > 100
    assert len(versions) > ROUNDS  # both wrote while it was read
    assert views_in(file) == whole
    assert FeastStore(folder, online=online).view_names() == sorted(whole)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".registry")] == []


def test_a_registry_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    store = SwappedRegistryStore(RegistryConfig(path=str(tmp_path / "registry.db")), tmp_path)
    store.update_registry_proto(Registry(registry_schema_version="1"))
    before = (tmp_path / "registry.db").read_bytes()

    def full(_):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("features.feast_registry.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        store.update_registry_proto(Registry(registry_schema_version="2"))
    assert (tmp_path / "registry.db").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["registry.db"]


def test_feast_on_the_command_line_works_where_opportune_does(tmp_path, monkeypatch):
    for name in ("data_dir", "online_store"):
        ours, told = FeastPlace.model_fields[name], DataSettings.model_fields[name]
        assert ours.default == told.default
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path))
    assert FeastPlace().folder == tmp_path / "feast"
    assert FeastPlace().online_address == DataSettings(data_dir=tmp_path).online_address
    store = SwappedRegistryStore(RegistryConfig(path="registry.db"), None)
    assert store._filepath == tmp_path / "feast" / "registry.db"
    assert isinstance(store, FileRegistryStore)  # Feast then notices a swapped file by its time
    monkeypatch.setenv("OPPORTUNE_ONLINE_STORE", "redis://localhost/3")
    assert FeastPlace().online_address == "redis://localhost/3"


def test_a_relative_directory_outside_a_checkout_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("features.feast_place._ROOT", tmp_path)
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", "somewhere")
    with pytest.raises(ValueError, match=r"'somewhere'.*absolute"):
        _ = FeastPlace().folder
    (tmp_path / "pyproject.toml").touch()
    assert FeastPlace().folder == tmp_path / "somewhere" / "feast"

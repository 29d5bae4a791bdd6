"""Which directories tell of a change, through every kind of link."""

from pathlib import Path

from proxy.control.watching import fingerprint, places


def test_a_plain_file_is_watched_in_its_directory(tmp_path: Path) -> None:
    assert places(tmp_path / "routes.yaml") == {tmp_path: {"routes.yaml"}}


def test_a_configmap_is_watched_at_each_of_its_links(tmp_path: Path) -> None:
    (tmp_path / "..1").mkdir()
    (tmp_path / "..1" / "routes.yaml").touch()
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "routes.yaml").symlink_to("..data/routes.yaml")
    assert places(tmp_path / "routes.yaml") == {
        tmp_path: {"routes.yaml", "..data"},
        tmp_path / "..1": {"routes.yaml"},
    }


def test_links_out_of_the_directory_and_back_are_followed(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "conf" / "routes.yaml").symlink_to("../real/a.yaml")
    (tmp_path / "real" / "a.yaml").symlink_to(tmp_path / "real" / "b.yaml")
    assert places(tmp_path / "conf" / "routes.yaml") == {
        tmp_path / "conf": {"routes.yaml"},
        tmp_path / "real": {"a.yaml", "b.yaml"},
    }


def test_a_link_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").symlink_to("routes.yaml")
    assert places(tmp_path / "routes.yaml") == {tmp_path: {"routes.yaml"}}
    assert fingerprint(tmp_path / "routes.yaml") is None


def test_a_fingerprint_changes_when_the_file_is_replaced_by_its_like(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("same")
    before = fingerprint(path)
    fresh = tmp_path / "fresh"
    fresh.write_text("same")
    fresh.replace(path)
    assert before != fingerprint(path)

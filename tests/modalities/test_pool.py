"""Work spread over processes."""

from pathlib import Path

import pytest

from modalities.pool import spread


def test_every_job_is_done_once(tmp_path: Path) -> None:
    jobs = [tmp_path / str(number) for number in range(50)]
    spread(Path.mkdir, jobs, desc="making", unit="folder")
    assert sorted(tmp_path.iterdir()) == sorted(jobs)


def test_a_job_that_fails_ends_the_work_with_its_error(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        spread(Path.mkdir, [tmp_path / "one", tmp_path], desc="making", unit="folder")


def test_the_bar_says_what_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spread(Path.mkdir, [tmp_path / "one"], desc="making", unit="folder")
    assert "making: 100%" in capsys.readouterr().err

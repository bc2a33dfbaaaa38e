"""The progress bar: it follows what is done, and says nothing more when all is."""

from visual_insertion_pack.pipelines.progress import ProgressBar


def test_a_bar_follows_a_run_and_opens_anew_for_the_next(capsys):
    bar = ProgressBar("painting", "step")
    for total in (3, 2):
        for done in range(1, total + 1):
            bar(done, total, "latents")
    lines = [line.rsplit("\r", 1)[-1] for line in capsys.readouterr().err.split("\n")]
    assert [line.split("|")[-1].split(" ")[1] for line in lines if line] == ["3/3", "2/2"]
    assert all(line.startswith("painting: 100%") for line in lines if line)


def test_a_bar_that_is_left_ends_its_line(capsys):
    try:
        with ProgressBar("painting", "step") as bar:
            bar(1, 3)
            raise InterruptedError
    except InterruptedError:
        pass
    assert capsys.readouterr().err.endswith("\n")

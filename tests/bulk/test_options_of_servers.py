"""What the options of a command for one picture are to servers: inputs of a workflow, or refused."""

from argparse import ArgumentParser

import pytest

from visual_insertion_pack.pipelines.commands import _many, add, insert, paint, restore

WITH_ONE_PICTURE = {"expansion", "views"}  # of --box and of several exemplars, which lists of pairs have not
OF_ALL = {"help", "pairs", "output", "seed", "no_metadata", *_many.OF_MANY}


@pytest.mark.parametrize("command", [add, insert, paint, restore])
def test_no_option_is_lost_on_the_way_to_a_server(command):
    subparsers = ArgumentParser().add_subparsers()
    command.register(subparsers)
    (parser,) = subparsers.choices.values()
    options = {action.dest for action in parser._actions}
    servers = command.ON_SERVERS
    known = {*servers.inputs, *servers.local, *command.OF_ONE, *command.FOLDERS.values()}
    assert {*servers.inputs, *servers.local} <= options
    assert options - known - OF_ALL <= WITH_ONE_PICTURE


def test_a_speed_is_the_samplers_and_a_student_stays_here():
    assert "speed" in insert.ON_SERVERS.inputs and "student" in insert.ON_SERVERS.local
    (sampler,) = [n for n in insert.ON_SERVERS.shipped().values() if "sampler_name" in n["inputs"]]
    assert sampler["inputs"]["speed"] == "exact"

"""InsertSet-like folders: what is read of them, and what is said when they are not as they should be."""

import shutil

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.evaluation.benchmarks import READERS
from visual_insertion_pack.pipelines.evaluation.cases import fingerprint_of
from visual_insertion_pack.pipelines.evaluation.trivial import TRIVIAL_METHODS, paste
from visual_insertion_pack.pipelines.object_representation.training.views_folder import read_views
from visual_insertion_pack.pipelines.pictures.masks import array_box
from visual_insertion_pack.pipelines.playroom.world.triplets import make_triplet
from visual_insertion_pack.tests.insert_set_parts import seed_of, seed_of_scene, triplet_of, write_set

read = READERS["insert-set"]


@pytest.fixture
def folder(tmp_path):
    return write_set(tmp_path / "set")


def same(picture, pixels):
    return np.array_equal(np.asarray(picture), pixels)


def test_every_object_goes_into_each_of_its_scenes(folder):
    benchmark = read(folder)
    assert benchmark.names == ("mug_0001", "mug_0002", "snow_man_0001", "snow_man_0002")
    case = benchmark[2]
    place = triplet_of(1, seed_of_scene(1))
    assert case.name == "snow_man_0001" and case.subject == case.told == "snow man"
    assert same(case.scene, place.scene) and np.array_equal(case.mask, place.object_mask) and case.target is None
    assert len(case.objects) == 3 and same(case.reference, triplet_of(1, seed_of(1)).objects[0])
    for number in range(3):
        triplet = triplet_of(1, seed_of(1, number))
        assert same(case.objects[number], triplet.target)
        x0, y0, x1, y1 = box = array_box(case.object_masks[number])
        assert box == (*np.floor(triplet.box[:2]), *np.ceil(triplet.box[2:]))
        assert case.object_masks[number].sum() == (x1 - x0) * (y1 - y0), "a box is all that is known"
    assert [picture is case.reference for picture, _ in case.references()] == [True, False, False, False]


def test_pictures_of_the_same_category_are_read_when_they_are_asked_for(folder):
    benchmark = read(folder)
    pictures = benchmark.others(benchmark[0])
    triplet = make_triplet(seed_of(0, 201), 1)
    assert len(pictures) == 2 and same(pictures[1][0], triplet.target)
    assert array_box(pictures[1][1]) == (*np.floor(triplet.box[:2]), *np.ceil(triplet.box[2:]))
    shutil.rmtree(folder / "id_image" / "mug" / "reg_data")
    assert read(folder).others(benchmark[0]) == [] and read(folder).first(1).others(benchmark[2])


def test_what_the_layout_leaves_open_may_be_absent(tmp_path):
    folder = write_set(tmp_path, views=1, shared=True)
    (folder / "id_image" / "mug" / "test.png").rename(folder / "id_image" / "mug" / "test1.png")
    (folder / "id_image" / "snow_man" / "test.png").unlink()
    images, masks = folder / "test_bench" / "image", folder / "test_bench" / "mask"
    (images / "0002_img.png").rename(images / "garden.png")
    (masks / "0002_mask.png").rename(masks / "garden.png")
    benchmark = read(folder)
    assert benchmark.names == ("mug_0001", "mug_garden", "snow_man_0001", "snow_man_garden")
    assert benchmark[0].reference and benchmark[2].reference is None and len(benchmark[2].references()) == 1
    (folder / "list").mkdir()
    (folder / "list" / "mug.txt").write_text("garden\n\n1 1\n")
    assert read(folder).names[:2] == ("mug_garden", "mug_0001"), "the scripts fill numbers with zeros"


def test_the_shuffled_object_is_another_one(folder):
    benchmark = read(folder)
    insert = TRIVIAL_METHODS["shuffled_object"](benchmark)
    cases = [benchmark[index] for index in range(4)]
    for case, other in zip(cases, (cases[2], cases[2], cases[0], cases[0]), strict=True):
        assert same(insert(case), np.asarray(paste(case, *other.views()[0])))
    shutil.rmtree(folder / "id_image" / "snow_man")
    alone = read(folder)
    with pytest.raises(ValueError, match="All cases of insert-set show the same object"):
        TRIVIAL_METHODS["shuffled_object"](alone)(alone[0])


def test_the_reference_counts_among_what_a_case_is(folder):
    before = fingerprint_of(read(folder))
    reference = folder / "id_image" / "mug" / "test.png"
    Image.open(reference).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(reference)
    assert fingerprint_of(read(folder)) != before


def test_learn_reads_an_objects_folder_as_it_is(folder):
    (folder / "id_image" / "mug" / "data" / "test.png").unlink()
    own = read_views(folder / "id_image" / "mug" / "data").views
    case = read(folder)[0]
    assert [view.crop.shape[1:] for view in own] == [
        (y1 - y0, x1 - x0) for x0, y0, x1, y1 in map(array_box, case.object_masks)
    ]


def test_learn_takes_the_boxes_of_the_category_from_beside_it(folder):
    home = folder / "id_image" / "mug"
    (home / "bbox" / "0000.txt").write_text("0 0 9 9")  # of another folder's picture
    benchmark = read(folder)
    boxes = [array_box(mask) for _, mask in benchmark.others(benchmark[0])]
    views = read_views(home / "reg_data").views
    assert [view.crop.shape[1:] for view in views] == [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in boxes]


def wrong(name, change, said, error=ValueError):
    return pytest.param(change, said, error, id=name)


def box(text, name="mug/bbox/2.txt"):
    return lambda folder: (folder / "id_image" / name).write_text(text)


def remove(name):
    return lambda folder: (folder / name).unlink()


def painted(size, white, name="mug/mask/0001_mask.png"):
    return lambda folder: Image.new("L", size, 255 if white else 0).save(folder / "test_bench" / name)


def listed(content):
    def change(folder):
        (folder / "list").mkdir()
        (folder / "list" / "mug.txt").write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("change", "said", "error"),
    [
        wrong("no objects", lambda folder: shutil.rmtree(folder / "id_image"),
              "id_image is no folder. Needed is a folder as", FileNotFoundError),
        wrong("an empty set", lambda folder: [shutil.rmtree(path) for path in (folder / "id_image").iterdir()],
              "id_image has no object: a folder for each", FileNotFoundError),
        wrong("no picture", lambda folder: shutil.rmtree(folder / "id_image" / "mug" / "data"),
              r"data has no picture of the object. Three to five are good", FileNotFoundError),
        wrong("no box", remove("id_image/mug/bbox/2.txt"),
              r"2.txt does not exist, so that nothing says where the object is in .*2.png. Write x0 y0 x1 y1",
              FileNotFoundError),
        wrong("no box in the category", remove("id_image/mug/reg_bbox/0001.txt"), r"reg_bbox.*0001.txt does not exist",
              FileNotFoundError),
        wrong("three numbers", box("1 2 3"), r"2.txt holds no box: it should be four numbers of pixels"),
        wrong("words", box("a b c d"), r"2.txt holds no box"),
        wrong("no area", box("5 5 5 9"), r"2.txt holds no box.*has no area"),
        wrong("not finite", box("0 0 nan 9"), r"2.txt holds no box.*has no area"),
        wrong("a box outside", box("140 10 160 30"), r"2.txt has the box \(140, 10, 160, 30\), but 2.png is"),
        wrong("a larger picture's box", box("10 10 240 190"), r"2.txt has the box .* made smaller. Write the box anew"),
        wrong("a negative box", box("-9 10 30 30"), r"2.txt has the box \(-9, 10, 30, 30\)"),
        wrong("no picture in a file", lambda folder: (folder / "id_image/mug/data/2.png").write_bytes(b"no"),
              "2.png is not a readable picture"),
        wrong("no scene", lambda folder: shutil.rmtree(folder / "test_bench" / "mug" / "image"),
              "image has no scene for mug", FileNotFoundError),
        wrong("no mask", remove("test_bench/mug/mask/0002_mask.png"),
              r"0002_mask.png does not exist, so that nothing says where the object goes in .*0002_img.png",
              FileNotFoundError),
        wrong("a mask of another size", painted((64, 128), True),
              r"0001_mask.png is 64x128 px, and its scene 0001_img.png is 128x128"),
        wrong("an empty mask", painted((128, 128), False), "0001_mask.png is an empty mask"),
        wrong("two scenes of a name", lambda folder: Image.new("RGB", (128, 128)).save(
            folder / "test_bench" / "mug" / "image" / "0001.jpg"), "are both the scene 0001. Take one away"),
        wrong("a list of what is not there", listed(b"1\n77\n"), "mug.txt names 0077, and .*image has 0001, 0002",
              FileNotFoundError),
        wrong("an empty list", listed(b"\n"), "mug.txt names no scene", FileNotFoundError),
        wrong("a list that is no text", listed(b"\xff\xfe"), "mug.txt is no text in UTF-8"),
        wrong("a name unfit for files", lambda folder: (folder / "id_image/mug").rename(folder / "id_image/my mug"),
              "image has no scene for my mug", FileNotFoundError),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(folder, change, said, error):
    change(folder)
    with pytest.raises(error, match=said):
        read(folder)[0]


def test_a_detectors_rounding_is_no_fault(folder):
    (folder / "id_image" / "mug" / "bbox" / "2.txt").write_text("-0.3 4.2 128.4 128.9")
    mask = read(folder)[0].object_masks[1]
    assert array_box(mask) == (0, 4, 128, 128)

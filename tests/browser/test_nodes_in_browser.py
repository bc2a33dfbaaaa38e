"""What the pack's own front-end code shows on nodes, in the real front end."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
SCHEDULE = ".visual-insertion-schedule"
NODE = "type => app.rootGraph.nodes.find(node => node.type === type)"
SOCKETS = ("EMBEDDING_OPTIMIZER", "EXEMPLAR_ENCODER", "FIT", "GUIDANCE", "LOCAL_REGION")
LOADED = "image => image.complete && image.naturalWidth === 640"


@pytest.fixture
def inserted(front_end):
    """The page with the toy template in it."""
    front_end.drop(FOLDER / "insert_object.json")
    return front_end


def reports(front_end):
    """By type of node, what is written on it."""
    return front_end.page.evaluate(
        """() => Object.fromEntries(app.rootGraph.nodes
            .filter(node => node.visualInsertionReport)
            .map(node => [node.type, node.visualInsertionReport.textContent]))"""
    )


def sources(front_end):
    return front_end.page.locator(SCHEDULE).last.get_attribute("src")


def test_the_schedule_is_there_before_a_run_and_follows_a_widget(inserted):
    picture = inserted.page.locator(SCHEDULE).last
    picture.wait_for()
    inserted.wait_for(LOADED, picture)
    before = sources(inserted)
    inserted.page.evaluate(
        f"""() => {{
            const scale = ({NODE})("GuidanceControl").widgets[0]
            scale.value = 4.5
            scale.callback(4.5)
        }}"""
    )
    inserted.page.wait_for_timeout(500)
    assert "object_scale=4.5" in sources(inserted) != before
    inserted.wait_for(LOADED, picture)
    assert inserted.errors == []


def test_what_is_shown_goes_into_neither_the_workflow_nor_the_prompt(inserted):
    inserted.page.locator(SCHEDULE).last.wait_for()
    values = inserted.page.evaluate(f"() => ({NODE})('GuidanceControl').serialize().widgets_values")
    assert len(values) == 8
    (node,) = (one for one in inserted.exported().values() if one["class_type"] == "GuidanceControl")
    assert set(node["inputs"]) <= {
        *("object_scale", "object_start", "object_end", "object_rescale"),
        *("scene_scale", "scene_start", "scene_end", "scene_rescale"),
    }


def test_reports_schedule_and_what_the_encoder_sees_are_there_after_a_cached_run(inserted, artifacts):
    inserted.run()
    inserted.page.reload()
    inserted.wait_until_ready()
    inserted.drop(FOLDER / "insert_object.json")
    assert reports(inserted) == {}
    inserted.run()
    inserted.page.wait_for_function(f"() => ({NODE})('ImageConditionedPix2PixSampler').visualInsertionReport")
    assert "UNet evaluations" in reports(inserted)["ImageConditionedPix2PixSampler"]
    inserted.page.wait_for_function(f"() => ({NODE})('ObjectImageEncode').imgs?.length > 0")
    inserted.wait_for(LOADED, inserted.page.locator(SCHEDULE).last)
    inserted.screenshot(artifacts / "nodes_after_a_cached_run.png")
    assert inserted.errors == []


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_our_sockets_have_colours_in_every_palette(front_end, palette):
    front_end.page.evaluate("name => app.extensionManager.setting.set('Comfy.ColorPalette', name)", palette)
    front_end.page.wait_for_timeout(500)
    colours = front_end.page.evaluate(
        """names => names.flatMap(name => [
            app.canvas.default_connection_color_byType[name],
            LGraphCanvas.link_type_colors[name],
            getComputedStyle(document.documentElement).getPropertyValue(`--color-datatype-${name}`).trim(),
        ])""",
        list(SOCKETS),
    )
    assert all(colour.startswith("#") for colour in colours) and len(set(colours)) == len(SOCKETS)


def test_the_same_is_shown_by_the_front_ends_new_nodes(front_end, artifacts):
    """ "Nodes 2.0", which draw nodes as elements of the page instead of on the canvas."""
    switch = "on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
    front_end.page.evaluate(switch, True)
    try:
        front_end.drop(FOLDER / "insert_object.json")
        front_end.page.locator("[data-node-id]").first.wait_for()
        front_end.wait_for(LOADED, front_end.page.locator(f"[data-node-id] {SCHEDULE}").last)
        front_end.run()
        written = front_end.page.locator("[data-node-id] .visual-insertion-report")
        written.get_by_text("UNet evaluations").wait_for()
        front_end.screenshot(artifacts / "new_nodes.png")
        assert front_end.errors == []
    finally:
        front_end.page.evaluate(switch, False)


@pytest.mark.parametrize("node", ["RestoreScene", "GuidanceControl"])
def test_help_fits_into_the_side_panel(node, front_end, artifacts, help_fits):
    help_fits(front_end, node, artifacts)

// The host fits a template into the window, however small its text gets. Where that is smaller than in the view that is
// saved with the template, ours open at the saved view.

import { app } from "../../../scripts/app.js"

let before

function seen() {
  const { scale, offset } = app.canvas?.ds ?? { offset: [] }
  return String([scale, ...offset])
}

/** Undo configures the graph, too, but leaves the view alone. */
function undoing() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker
  return tracker?._restoringState ?? seen() === before
}

app.registerExtension({
  name: "visual_insertion.template_view",

  beforeConfigureGraph() {
    before = seen()
  },

  afterConfigureGraph() {
    const graph = app.rootGraph ?? app.graph
    const view = graph?.extra?.visual_insertion_template && graph.extra.ds
    const ds = app.canvas?.ds
    if (!view || !ds || undoing() || ds.scale >= view.scale) return
    ds.scale = view.scale
    ds.offset[0] = view.offset[0]
    ds.offset[1] = view.offset[1]
    app.canvas.setDirty(true, true)
  },
})

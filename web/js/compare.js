// The host's Compare Images has its slider in Nodes 2.0 alone. On the canvas, where it would stay empty but for a line that
// says so, the compare nodes of our templates show both pictures in its place; a click on one enlarges it.

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"

function picture(file) {
  const image = new Image()
  image.src = api.apiURL(`/view?${new URLSearchParams(file)}`)
  return image.decode().then(() => image)
}

function on_the_canvas(node) {
  return !LiteGraph.vueNodesMode && Boolean(node.graph?.extra?.visual_insertion_template)
}

app.registerExtension({
  name: "visual_insertion.compare",

  nodeCreated(node) {
    if (node.constructor.comfyClass !== "ImageCompare") return
    for (const widget of node.widgets ?? []) {
      Object.defineProperty(widget, "hidden", { get: () => on_the_canvas(node), set: () => {}, configurable: true })
    }
    const inherited = node.onExecuted
    node.onExecuted = async function (output) {
      inherited?.apply(this, arguments)
      if (!on_the_canvas(this)) return
      const files = [...(output.a_images ?? []).slice(0, 1), ...(output.b_images ?? []).slice(0, 1)]
      this.imgs = await Promise.all(files.map(picture))
      this.setDirtyCanvas(true, true)
    }
  },
})

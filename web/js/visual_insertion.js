// Colours of the pack's sockets, what its nodes report, and the schedule of Guidance Control.

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"

const COLOURS = {
  ADD_IT: "#C97BD1",
  EMBEDDING_OPTIMIZER: "#E88C3E",
  EXEMPLAR_ENCODER: "#D9B23C",
  FIT: "#5BB5A2",
  GUIDANCE: "#B8D04A",
  LOCAL_REGION: "#5698D6",
}
const CATEGORY = "visual insertion"

/** A colour that stays when a palette without one for this type is loaded; a palette that has one wins. */
function colour(colours, type) {
  let chosen = COLOURS[type]
  Object.defineProperty(colours, type, {
    get: () => chosen,
    set: (value) => (chosen = value || COLOURS[type]),
    configurable: true,
    enumerable: true,
  })
}

/** Something below a node's widgets that is part of neither the saved workflow nor the prompt. */
function below(node, name, element, height) {
  const widget = node.addDOMWidget(name, name, element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: height,
    getValue: () => "",
    setValue: () => {},
  })
  widget.serialize = false
  grow(node)
}

function grow(node) {
  const height = node.computeSize()[1]
  if (height > node.size[1]) node.setSize([node.size[0], height])
  app.graph.setDirtyCanvas(true, true)
}

/** The sentences of a node's last run. */
function report(node, sentences) {
  let box = node.visualInsertionReport
  if (!box) {
    if (!sentences.length) return
    box = node.visualInsertionReport = document.createElement("div")
    box.className = "visual-insertion-report"
    Object.assign(box.style, { overflow: "auto", whiteSpace: "pre-wrap", fontSize: "11px", opacity: 0.85 })
    below(node, "report", box, () => (box.textContent ? 20 + 15 * Math.ceil(box.textContent.length / 42) : 0))
  }
  box.textContent = sentences.join("\n")
  grow(node)
}

/** Draw the schedule of a Guidance Control as its widgets are, or as the values that a run had over links. */
function schedule(node) {
  const picture = document.createElement("img")
  picture.className = "visual-insertion-schedule"
  picture.alt = "How much the object and the scene steer, from noise to picture"
  Object.assign(picture.style, { objectFit: "contain", objectPosition: "top", width: "100%", height: "100%" })
  let waiting
  const draw = (values) => {
    clearTimeout(waiting)
    waiting = setTimeout(() => {
      const widgets = node.widgets.filter((widget) => widget.type === "number" || typeof widget.value === "number")
      const settings = values ?? Object.fromEntries(widgets.map((widget) => [widget.name, widget.value]))
      picture.src = api.apiURL(`/visual_insertion/schedule.png?${new URLSearchParams(settings)}`)
    }, 60)
  }
  below(node, "schedule", picture, () => 150)
  for (const widget of node.widgets) {
    const before = widget.callback
    widget.callback = function (...given) {
      draw()
      return before?.apply(this, given)
    }
  }
  draw()
  return draw
}

function chain(object, name, after) {
  const before = object[name]
  object[name] = function (...given) {
    const result = before?.apply(this, given)
    after.apply(this, given)
    return result
  }
}

app.registerExtension({
  name: "visual_insertion",
  setup() {
    const root = document.createElement("style")
    for (const [type, value] of Object.entries(COLOURS)) {
      root.textContent += `:root { --color-datatype-${type}: ${value} }\n`
      for (const colours of [app.canvas?.default_connection_color_byType, globalThis.LGraphCanvas?.link_type_colors]) {
        if (colours) colour(colours, type)
      }
    }
    document.head.append(root)
  },
  nodeCreated(node) {
    const definition = node.constructor.nodeData
    if (definition?.category !== CATEGORY || !node.addDOMWidget) return
    if (node.comfyClass === "VisualInsertionDoctor") return // shows its report itself, to be copied: doctor.js
    const draw = node.comfyClass === "GuidanceControl" ? schedule(node) : undefined
    if (draw) chain(node, "onConfigure", () => draw())
    chain(node, "onExecuted", (output) => {
      report(node, output?.text ?? [])
      if (draw && output?.schedule) draw(output.schedule[0])
    })
  },
})

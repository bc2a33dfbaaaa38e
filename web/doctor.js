import { app } from "../../scripts/app.js"

// Visual Insertion Doctor's report on the node, as text that can be selected and copied.
const SIZE = [760, 720]

function reportOf(node) {
  const known = node.widgets?.find((widget) => widget.name === "findings")
  if (known) return known.element
  const element = document.createElement("textarea")
  element.readOnly = true
  element.style.cssText = "resize: none; white-space: pre-wrap; font: 11px monospace; min-height: 380px"
  node.addDOMWidget("findings", "findings", element, { serialize: false, getMinHeight: () => 380 })
  node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])])
  return element
}

app.registerExtension({
  name: "VisualInsertion.Doctor",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== "VisualInsertionDoctor") return
    const onExecuted = nodeType.prototype.onExecuted
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments)
      if (output?.text) reportOf(this).value = output.text.join("\n")
    }
  },
})

/** Every word that the interface's own parts show, in the languages of the pack's translations. */

const ENGLISH = {
  panel: "panel",
  panels: "panels",
  given: "given",
  generated: "generated",
  opened: "given, repainted in part",
  reference: "reference",
  learned: "learned",
  chooseHint: "click to choose",
  noneChosen: "No panel is chosen. Click the panels to repaint.",
  noSuchPanel: "There is no panel “{panel}”; choose from 1 to {count}: {names}.",
  chosenElsewhere: "A connected node chooses the panels, so they cannot be clicked here.",
  unknown: "Known once a task, a layout or a LoRA with a recipe is connected.",
  noRecipe: "This LoRA has no recipe: connect one to 'recipe if missing'.",
  elsewhere: "Another node gives these values.",
  listed: "A list is connected: the first panels are given.",
  muted: "“{title}” is muted, so it sends nothing. This is its layout.",
  bypassed: "“{title}” is bypassed, so it sends nothing. This is its layout.",
  impossible: "“{title}” has an error. This is its last valid layout.",
  before: "before",
  after: "after",
  divider: "Divider between before and after",
  nothingYet: "Before and after appear here after a run.",
  pictureGone: "The pictures of the last run are gone. Run it again to compare.",
  dragHint:
    "Drag a border to resize, with Shift for the gutter, with Alt for one piece of it. Drop a panel on another one to swap them.",
  kindBoxes: "The kind is now “boxes”: “{before}” divides evenly. Undo brings it back.",
  kindAgain: "The panels are even, so the kind is “{kind}” again.",
  joint: "Caption",
  summary: "Summary",
  plain: "plain fields",
  plainHint: "Also show the plain fields, so that other nodes can be connected to them.",
  connected: "from the connected node",
  notCounted: "The texts of connected nodes are not in this caption yet.",
  caption: "The caption as it will be sent",
  tooLong: "{encoder} reads {limit} tokens at a time; the next part begins at “{rest}”.",
  unclosed: "“{text}” is sent as written: the wildcard has no closing brace “}”.",
  limitHere: "{limit} tokens of {encoder} end here",
  pasted: "Pasted as it is, not into the fields: {reason}",
  noAnswer: "The server does not answer, so the caption is not checked.",
  showAdvanced: "Show {count} advanced inputs",
  hideAdvanced: "Hide advanced inputs",
  cardTask: "Task",
  cardTrigger: "Trigger",
  cardTrained: "Trained at",
  cardBase: "Base model",
  cardSettings: "Settings",
  cardSize: "{width} × {height}, {count} panels",
  cardSampling: "{steps} steps, CFG {cfg}, guidance {guidance}",
  cardNoRecipe: "This LoRA has no recipe.",
  cardAsking: "Reading its recipe …",
};

const CHINESE = {
  panel: "格",
  panels: "格",
  given: "已给定",
  generated: "待生成",
  opened: "已给定，部分重绘",
  reference: "参考",
  learned: "学习",
  chooseHint: "点击选择",
  noneChosen: "未选择任何分格。请点击要重绘的分格。",
  noSuchPanel: "没有分格“{panel}”；请从 1 到 {count} 中选择：{names}。",
  chosenElsewhere: "分格由所连接的节点选择，无法在此点击。",
  unknown: "连接任务、布局或带配方的 LoRA 后即可显示。",
  noRecipe: "此 LoRA 没有配方：请将配方连接到“缺省配方”。",
  elsewhere: "这些值由其他节点给出。",
  listed: "已连接列表：前几格为已给定。",
  muted: "“{title}”已被静音，不会发送任何内容。此处为其布局。",
  bypassed: "“{title}”已被绕过，不会发送任何内容。此处为其布局。",
  impossible: "“{title}”有错误。此处为其最后一个有效布局。",
  before: "之前",
  after: "之后",
  divider: "前后对比的分隔线",
  nothingYet: "运行后在此显示前后对比。",
  pictureGone: "上次运行的图片已被删除。请重新运行以比较。",
  dragHint: "拖动边界可调整大小；按住 Shift 调整间距；按住 Alt 只移动其中一段。将一格拖到另一格上可互换位置。",
  kindBoxes: "方式现为“boxes”：“{before}”只能均分。撤销即可恢复。",
  kindAgain: "各格已均分，方式恢复为“{kind}”。",
  joint: "提示词",
  summary: "总述",
  plain: "普通输入框",
  plainHint: "同时显示普通输入框，以便将其他节点连接到它们。",
  connected: "来自所连接的节点",
  notCounted: "此处的提示词尚不包含所连接节点的文本。",
  caption: "将要发送的提示词",
  tooLong: "{encoder} 每次读取 {limit} 个词元；下一段从“{rest}”开始。",
  unclosed: "“{text}”将按原样发送：此通配符缺少右花括号“}”。",
  limitHere: "{encoder} 的 {limit} 个词元到此为止",
  pasted: "已按原样粘贴，未分到各个输入框：{reason}",
  noAnswer: "服务器没有响应；提示词未经检查。",
  showAdvanced: "显示 {count} 个高级输入",
  hideAdvanced: "隐藏高级输入",
  cardTask: "任务",
  cardTrigger: "触发词",
  cardTrained: "训练尺寸",
  cardBase: "基础模型",
  cardSettings: "设置",
  cardSize: "{width} × {height}，{count} 格",
  cardSampling: "{steps} 步，CFG {cfg}，引导 {guidance}",
  cardNoRecipe: "此 LoRA 没有配方。",
  cardAsking: "正在读取配方……",
};

/**
 * The words of a language; English if it has none.
 * @param {string} locale  as in the setting Comfy.Locale
 * @returns {typeof ENGLISH}
 */
export function wordsOf(locale) {
  return inLanguage(locale, ENGLISH, CHINESE);
}

/** The words of a language out of two sets; English if it has none. */
export function inLanguage(locale, english, chinese) {
  return locale === "zh" ? chinese : english;
}

/** A sentence with its places filled: `fill("{a} of {b}", {a: 1, b: 2})`. */
export function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (place, name) => String(values[name] ?? place));
}

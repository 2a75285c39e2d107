/**
 * What the server says in panels, in Chinese: sentences, or several that always come together, with a name in the place of
 * each value. A test checks that the pack's Python says each of them.
 *
 * @type {Record<string, string>}
 */
export const CHINESE = {
  // what a training does
  starting: "启动",
  preparing: "准备",
  "preparing the data": "准备数据",
  "loading the models": "加载模型",
  "encoding picture": "编码图片",
  "encoding the pictures": "编码图片",
  "encoding caption": "编码提示词",
  training: "训练",
  validating: "验证",
  sampling: "采样",
  saving: "保存",

  // how it ended
  "Stopped at step {step}.": "已在第 {step} 步停止。",
  "Stopped before the first step.": "在第一步之前停止。",
  "Stopped at step {step}. Resume it from there.": "已在第 {step} 步停止，可从该处恢复。",
  "Resume it from step {step}.": "可从第 {step} 步恢复。",
  "Resume it: it continues from step {step}.": "可以恢复，从第 {step} 步继续。",
  "It has no saved state yet; start it again.": "尚无保存的状态，请重新开始。",
  "The cause is in the last lines of its output.": "原因见其输出的最后几行。",
  "The disk is full. Free some space, then resume the run.": "磁盘已满。请腾出空间，然后恢复训练。",
  "The trainer found no pictures. Build the dataset again.": "训练器没有找到图片。请重新构建数据集。",
  "The loss is {loss} at step {step}. Lower the learning rate ({rate}), or compute in bf16 or fp32. The last checkpoint is kept.":
    "第 {step} 步的损失为 {loss}。请降低学习率（{rate}），或用 bf16、fp32 计算；最后的检查点会保留。",
  "References of {model} cannot be isolated yet; they are trained clean instead.":
    "{model} 的参考尚不能隔离，改用干净参考训练。",

  // what can be asked of it
  "{name} is no longer running.": "{name} 已不在运行。",
  "{name} is training. Stop it before you delete it.": "{name} 正在训练。请先停止，再删除。",
  "{name} is still running; watch it, or stop it first.": "{name} 仍在运行；请查看，或先停止它。",
  "{name} is finished. Choose its LoRA under continue_from to train it further.":
    "{name} 已完成。要继续训练，请在“继续训练”中选择它的 LoRA。",
  "{name} has no saved state to resume from. Start it again, or continue its last checkpoint in a new training.":
    "{name} 没有可恢复的状态。请重新开始，或在新的训练中继续它的最后一个检查点。",
  "Another process is already resuming {name}. Watch it instead.": "另一个进程此刻正在恢复 {name}，请改为观察它。",
  "{name} has no process of its own here. Cancel the prompt to end it.": "{name} 在此没有自己的进程。要结束它，请取消任务。",
  "There is no training {name} in output/incontext_runs; it may have been removed.":
    "output/incontext_runs 中没有训练 {name}；它可能已被删除。",
  "{name} has no checkpoint {file}. It may have been removed; reload the list.":
    "{name} 没有检查点 {file}。请重新加载列表：它可能已被删除。",
  "ComfyUI is working on a prompt. Wait until it is done, then resume the training.":
    "ComfyUI 正在执行任务。请等它完成，再恢复训练。",
  "The {field} has {length} characters. Shorten it to {limit}.": "{field} 有 {length} 个字符，请缩短到 {limit} 个以内。",
  "{name} cannot be resumed: its run.json cannot be used ({reason}). Continue its last checkpoint in a new training instead.":
    "{name} 无法恢复：其 run.json 无法使用（{reason}）。请改为在新的训练中继续它的最后一个检查点。",
  "run.json cannot be used: {reason}.": "run.json 无法使用：{reason}。",
  "{place} cannot be written: {reason}. Check its permissions and free space, that its disk is connected, and that no other program has it open.":
    "无法写入 {place}：{reason}。请检查权限、可用空间、磁盘是否已连接，以及是否有其他程序正在使用它。",

  // what the build of a dataset found
  "The images are not numbered; they were sorted by name: {names}.": "图片没有编号，已按名称排列：{names}。",
  "Number them in the order of the panels.": "请按分格顺序编号。",
  "The folder holds no images.": "文件夹中没有图片。",
  "Put the set's images there, or remove the folder.": "请放入该组的图片，或删除此文件夹。",
  "The folder holds folders, but no images.": "文件夹中只有文件夹，没有图片。",
  "Build the dataset from this folder instead.": "请改用此文件夹构建数据集。",
  "The archive was not read.": "未读取压缩包。",
  "Unpack it into this folder.": "请解压到此文件夹。",
  "The caption has no image beside it.": "提示词旁边没有图片。",
  "Name it like its image or set, or remove it.": "请与其图片或图组同名，或将其删除。",
  "The image lies beside the folders of the sets and was not used.": "图片位于各图组文件夹之外，未使用。",
  "Put the images of each set into a folder of their own.": "请将每组图片放入各自的文件夹。",
  "Keep one of the two.": "请保留其中一个。",
  "The set has no caption.": "该组没有提示词。",
  "The caption is empty.": "提示词为空。",
  "Describe the set.": "请描述该组。",
  "The text of {panels} is missing or empty.": "{panels} 的文本缺失或为空。",
  "Describe each panel.": "请描述每一格。",
  "The prefix {prefix} was added to the caption.": "已在提示词前加上前缀 {prefix}。",
  "The prefix {foreign} was replaced by {prefix}.": "前缀 {foreign} 已替换为 {prefix}。",
  "The caption has no summary before the first panel; it ties them together.":
    "提示词在第一格之前没有总述；总述将各格联系在一起。",
  "No text follows {markers}.": "{markers} 之后没有文本。",
  "Remove what is not wanted.": "请删除不需要的。",
  "The file is empty.": "文件为空。",
  "The image is damaged ({reason}).": "图片已损坏（{reason}）。",
  "Copy or export it again.": "请重新复制或导出。",
  "Open it in an image editor and save it as PNG.": "请用图像编辑器打开并另存为 PNG。",
  "The camera's orientation was applied.": "已应用相机方向。",
  "CMYK colours were converted to RGB.": "CMYK 颜色已转换为 RGB。",
  "Transparent parts were filled with the padding colour.": "透明部分已铺在填充色上。",
  "{size} was enlarged {factor} times to fill {width}×{height}.": "{size} 被放大 {factor} 倍以填满 {width}×{height}。",
  "Use a larger original.": "请使用更大的原图。",
  "{share} of {size} was cut away to fill {width}×{height}.": "为填满 {width}×{height}，{size} 被裁掉 {share}。",
  "Choose the fit '{fit}', or a recipe whose panels have these proportions.": "请选择适配方式“{fit}”，或使用分格比例相近的配方。",
  "Add sets, or train for fewer steps and look at the samples.": "请增加图组，或减少训练步数并查看样图。",
  "Keep the most varied ones if time matters.": "如需节省时间，请保留差异最大的图组。",
  "The dataset has {count} sets; {fewest} to {most} are recommended. More do no harm, but they add little and take longer to train.":
    "数据集有 {count} 组；建议 {fewest} 到 {most} 组。更多无害，但作用不大，训练更久。",
  "The dataset has {count} set{plural}; {fewest} to {most} are recommended. With so few, a LoRA memorises these sets rather than learning how the panels belong together.":
    "数据集有 {count} 组；建议 {fewest} 到 {most} 组。图组太少时，LoRA 会记住这些图组，而不是学会各格之间的联系。",
  "There is no such set any more: its pictures were deleted or moved. Reload the gallery.":
    "该图组已不存在：其图片已被删除或移动。请刷新图库。",
  "The set has no panel {number}. Reload the gallery.":
    "该图组没有第 {number} 格。请刷新图库。",
  "Panel {number} of this set was not saved. Choose another panel.":
    "该图组的第 {number} 格未保存。请选择其他格。",
  "Panel {number} of this set was not saved.":
    "该图组的第 {number} 格未保存。",
  "{name} cannot be read: {reason}. It may have been deleted; reload the gallery.":
    "无法读取 {name}：{reason}。它可能已被删除；请刷新图库。",
  "The layout of this set is unknown. Use its panels one by one.":
    "该图组各格的位置未知。请逐格使用。",
  "The workflow in {name} cannot be read: {reason}.":
    "无法读取 {name} 中的工作流：{reason}。",
  "{name} holds no workflow: another program saved it, or ComfyUI was started with --disable-metadata.":
    "{name} 中没有工作流：它由其他程序保存，或 ComfyUI 启动时使用了 --disable-metadata。",
  "This is a single picture, and the panels in it are not known. Add a set that has panels.":
    "这是单张图片，其中的分格未知。请添加有分格的图组。",
  "{name} cannot be a folder's name: {problem}. Choose another name.":
    "{name} 不能用作文件夹名称：{problem}。请换一个名称。",
  "ComfyUI itself uses the folder {name}. Choose another name.":
    "ComfyUI 自身使用文件夹 {name}。请换一个名称。",
  "The folder {name} is a link to another place. Choose another name.":
    "文件夹 {name} 是指向其他位置的链接。请换一个名称。",
  "The prompt in this set does not contain its caption, and a dataset needs one. Make the set with Joint Caption, or write the caption into the text field of CLIP Text Encode.":
    "该图组的提示信息中没有提示词，而数据集需要提示词。请用“联合提示词”生成图组，或将提示词写入 CLIP 文本编码的文本框。",
  "The pictures in {folder} are not in one folder per set, but the gallery saves each set in a folder of its own. Choose another folder.":
    "{folder} 的图片直接并列放在该文件夹中，而图库中的图组各有自己的文件夹。请选择其他文件夹。",
  "This set has {own} panels, but the sets in {folder} have a different number ({count} in {name}). Choose another folder.":
    "该图组的格数（{own}）与 {folder} 中的图组（{name} 有 {count} 格）不同。请选择其他文件夹。",
};

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

  // what Joint Caption says of a caption
  "The caption has line breaks; trainers read the first line only. Write it as one line.":
    "提示词含有换行；训练器只读取第一行。请写成一行。",
  "The caption does not begin with the prefix {prefix}, which triggers the LoRA.":
    "提示词没有以触发 LoRA 的前缀 {prefix} 开头。",
  "The caption has no summary before the first panel; it ties the panels together.":
    "提示词在第一格之前没有总述；总述将各格联系在一起。",
  "No text follows {markers}; the model will choose what such a panel shows.":
    "{markers} 之后没有文本；这样的分格画什么由模型决定。",
  "The caption lacks {missing}; {recipe} needs {markers} in this order.":
    "提示词缺少 {missing}；{recipe} 需要按此顺序出现的 {markers}。",
  "The caption has {markers} more than once; each marker may occur only once. Remove the others.":
    "提示词中 {markers} 出现多次；每个标记只能出现一次。请删除多余的。",
  "The markers in the caption are in the order {order}; expected {markers}.":
    "提示词中标记的顺序为 {order}；应为 {markers}。",
  "The parentheses are not balanced; ComfyUI reads them as emphasis. Escape them: \\( \\).":
    "括号不成对；ComfyUI 将括号视为权重。请转义：\\( \\)。",
  "ComfyUI reads (parentheses) as emphasis. Escape them, \\( \\), if they are meant as text.":
    "ComfyUI 将（括号）视为权重。若是文字，请转义：\\( \\)。",
  "{texts} not sent: the layout has {count} panels. A larger layout uses them again.":
    "布局有 {count} 格，多出的文本不会发送；更大的布局会再次使用它们。",
  "{given} panel texts for {count} panels ({markers}). Remove texts, or choose a layout with more panels.":
    "{count} 格（{markers}）却有 {given} 段文本。请删除文本，或选择格数更多的布局。",
  "The summary holds the panel marker {marker}. Move what follows it to that panel's text; markers are added automatically.":
    "总述中含有分格标记 {marker}。请将其后的内容移到该格的文本中；标记会自动添加。",
  "The text of panel {panel} holds the marker {marker}. Give each panel its own text; markers are added automatically.":
    "分格 {panel} 的文本中含有标记 {marker}。请为每格各写文本；标记会自动添加。",
  "The caption has {count} characters; at most {limit} are read, and text encoders read about 2,500. Shorten it.":
    "提示词有 {count} 个字符；最多读取 {limit} 个，而文本编码器约读取 2,500 个。请缩短。",
  "The caption has wildcards more than {limit} levels deep. Write them with fewer levels.":
    "提示词中的通配符嵌套超过 {limit} 层。请减少层数。",

  // what is wrong with a layout
  "The kind is 'boxes', but there are no boxes. Write one 'left, top, width, height' per line.":
    "方式为“boxes”，但没有方框。请每行写一个“左, 上, 宽, 高”。",
  "{count} {what} with gutters of {gutter} px do not fit into {length} px; each needs at least {least} px. Use fewer {less}, narrower gutters or a larger canvas.":
    "间距为 {gutter} 像素时，{length} 像素放不下 {count} 行或列；每个至少需要 {least} 像素。请减少数量、缩小间距或增大画布。",
  "{count} {what} with gutters of {gutter} px leave {room} of {length} px, which is not a multiple of {step}; {advice}, or a smaller step.":
    "间距为 {gutter} 像素、{count} 行或列时，{length} 像素中剩余 {room} 像素，不是 {step} 的倍数。请调整间距或画布，或使用更小的步长。",
  "Line {number} is {line}; expected 'left, top, width, height' in pixels, optionally with 'NAME:' in front.":
    "第 {number} 行是 {line}；应为以像素表示的“左, 上, 宽, 高”，前面可加“名称:”。",
  "{boxes} boxes have {names} names; name all of them or none.": "{boxes} 个方框有 {names} 个名称；请全部命名，或都不命名。",
  "Columns per row are {text}; expected positive numbers such as '1, 2' for two rows.":
    "每行列数为 {text}；应为正整数，例如两行写“1, 2”。",
  "The canvas {side} is {length}; it must be a positive multiple of {step}, for example {example}.":
    "画布的 {side} 为 {length}；必须是 {step} 的正整数倍，例如 {example}。",
  "The canvas {side} is {length}; at most {limit} px are possible. Make it smaller.":
    "画布的 {side} 为 {length}；最多 {limit} 像素。请缩小。",
  "The canvas of {width}×{height} has {pixels} pixels; at most {limit} are possible, as in 8192×8192. Make it smaller.":
    "{width}×{height} 的画布有 {pixels} 个像素；最多 {limit} 个，即 8192×8192。请缩小。",
  "A layout needs at least one panel.": "布局至少需要一格。",
  "The layout has {count} panels; at most {limit} are possible. Remove panels.": "布局有 {count} 格；最多 {limit} 格。请减少格数。",
  "Panels: {panels}, names: {names}. Give one name per panel, separated by commas.":
    "格数：{panels}，名称数：{names}。请为每格写一个名称，用逗号分隔。",
  "Panel names are {names}; none may be empty. Name all panels, or none.": "格名为 {names}；不能有空名称。请全部命名，或都不命名。",
  "Panel names must differ; used more than once: {names}.": "格名不能重复；重复的有：{names}。",
  "Panel {name} is {box}; width and height must be positive.": "分格 {name} 为 {box}；宽和高必须为正。",
  "Panel {name} is {box}, which leaves the canvas of {width}×{height}. Move or shrink the panel, or enlarge the canvas.":
    "分格 {name} 为 {box}，超出了 {width}×{height} 的画布。请移动或缩小该格，或增大画布。",
  "Panels {one} ({box}) and {other} ({otherBox}) overlap. Move one of them; panels may touch but not overlap.":
    "分格 {one}（{box}）与 {other}（{otherBox}）重叠。请移动其中一格；各格可以相接，但不能重叠。",

  // how checkpoints compare
  "Every candidate fails a guard, so the base model stays as it is.": "所有候选都未满足条件，因此保持使用基础模型。",
  "None is better than the base model ({score} {value}).": "没有候选优于基础模型（{score} {value}）。",
  "{candidate} is the best ({score} {value}), but it is better than the base model with a confidence of {confidence} only; {required} is required. Compare on more captions or train further.":
    "{candidate} 最好（{score} {value}），但优于基础模型的置信度只有 {confidence}，需要 {required}。请用更多提示词比较，或继续训练。",
  "{candidate} has the highest {score} of those that meet all guards: {mean} ({low} to {high}).":
    "在满足所有条件的候选中，{candidate} 的 {score} 最高：{mean}（{low} 至 {high}）。",
  "Without a LoRA it is {mean}.": "不用 LoRA 时为 {mean}。",
  "{captions} captions are too few to be sure; compare on {fewest} or more.": "{captions} 条提示词太少，无法确定；请用 {fewest} 条或更多来比较。",
  "{score} {value}; at least {limit} is required.": "{score} {value}；至少需要 {limit}。",
  "It follows captions less than the base model.": "它不如基础模型遵循提示词。",
  "The caption decides less than with the base model.": "提示词的作用不如在基础模型中。",
  "Its panels are copies, or their layout is frozen.": "各格互为复制，或构图僵化。",
  "It repeats training sets.": "它重复了训练图组。",
  "The dataset has another layout, so novelty was not measured.": "数据集的布局不同，因此未测量新颖度。",
  "Captions were not scored: connect both caption_clip and caption_vision.":
    "未对提示词评分：请同时连接 caption_clip 和 caption_vision。",
  "colours and shapes, no network (sees a shared palette and outlines, but not people or things)":
    "颜色与形状，不用网络（能看出共同的色调和轮廓，看不出人或物）",
  consistency: "一致性（consistency）",
  "Panels of one set are more alike than panels of different sets.": "同一图组的各格比不同图组的更相似。",
  "Sees only what the encoder sees, and no relation other than likeness, such as a size that grows.":
    "只能看到编码器所见，除相似外看不到其他关系，例如逐渐变大。",
  "within a set": "图组内（within）",
  "Panels of one set are alike.": "同一图组的各格相似。",
  "Is highest for panels that are copies of each other.": "各格互为复制时最高。",
  "caption following": "遵循提示词（caption）",
  "Each panel shows its own text rather than another panel's.": "每格画的是自己的文本，而不是其他格的。",
  "Misses details, counts and left or right; texts beyond the encoder's length are cut.":
    "看不出细节、数量和左右；超出编码器长度的文本会被截断。",
  "content as by the base model": "内容与基础模型一致（content）",
  "Each panel is nearest to what the base model draws for the same text, so the caption still decides.":
    "每格最接近基础模型为同一文本所画的内容，因此仍由提示词决定。",
  "Only as right as the base model; a LoRA that changes the style strongly lowers it too.":
    "只和基础模型一样可靠；大幅改变风格的 LoRA 也会降低它。",
  "yes answers": "肯定回答（answers）",
  "A vision-language model says that panels show their texts and share identity, style and story.":
    "视觉语言模型认为各格符合文本，且身份、风格和情节一致。",
  "As reliable as the model that answers; small models say yes too often.": "只和回答的模型一样可靠；小模型过于常答“是”。",
  "agreement with the reference": "与参考一致（reference）",
  "Painted panels are more like their own given panel than like those of other sets.":
    "生成的各格更像自己的参考格，而不是其他图组的。",
  "As consistency. With one reference for all captions nothing is subtracted.": "与一致性相同。所有提示词共用一个参考时不做减法。",
  composition: "构图（composition）",
  "Panels of a set place their contents differently: no copies, no frozen layout.": "图组各格的构图不同：没有复制，也不僵化。",
  "A task whose panels should share a composition has a low value by nature; compare with the base and the training sets.":
    "若任务要求各格构图相同，该值自然较低；请与基础模型和训练图组比较。",
  variety: "多样性（variety）",
  "Another seed gives another set for the same caption.": "同一提示词换一个种子得到不同的图组。",
  "Does not say whether the sets are good.": "不说明图组的好坏。",
  novelty: "新颖度（novelty）",
  "Share of the sets that are no nearer to a training set than training sets are to each other.":
    "与训练图组的距离不小于训练图组彼此距离的图组所占比例。",
  "Sees nearly exact copies of whole sets, not of a detail. Training sets that are near-duplicates of each other hide copies, and few training sets make the limit coarse.":
    "能看出整个图组几乎完全的复制，看不出细节的复制。彼此几乎重复的训练图组会掩盖复制；训练图组少时界限较粗。",
};

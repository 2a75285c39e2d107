/** Resuming a training that runs in ComfyUI: it needs the model, the encoders and the dataset of its workflow. */

const NODE = "InContextTrainLoraInHost";

/**
 * The part of a prompt that trains a run further; null if the workflow has no node that could.
 * @param {Record<string, {class_type: string, inputs: Record<string, unknown>}>} prompt  as the Run button would send it
 * @param {{name: string, title: string}} run
 */
export function resumingPrompt(prompt, run) {
  const trainers = Object.keys(prompt).filter((id) => prompt[id].class_type === NODE);
  const id = trainers.find((each) => prompt[each].inputs.name === run.title) ?? trainers[0];
  if (id === undefined) return null;
  const kept = {};
  const waiting = [id];
  while (waiting.length) {
    const next = waiting.pop();
    if (next in kept || !(next in prompt)) continue;
    kept[next] = prompt[next];
    for (const value of Object.values(prompt[next].inputs)) if (Array.isArray(value)) waiting.push(String(value[0]));
  }
  kept[id] = { ...prompt[id], inputs: { ...prompt[id].inputs, resume: run.name } };
  return kept;
}

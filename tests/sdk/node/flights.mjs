// One act of the official Node SDK with its defaults, as often as told; prints what an application got of it, as JSON.
// usage: node flights.mjs BASE_URL ACT TIMES FILE [KEY]
import OpenAI, { toFile } from "openai";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const [baseURL, act, times, file, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "sk-anything" });
const sha = (b64) => createHash("sha256").update(Buffer.from(b64, "base64")).digest("hex");
const options = key ? { headers: { "Idempotency-Key": key } } : {};
const generation = { model: "pic", prompt: "a lighthouse" };
const edit = async () => ({ model: "pic", prompt: "at night", image: await toFile(readFileSync(file), "in.png") });
const turn = { model: "chat", input: "draw", tools: [{ type: "image_generation" }] };
const shown = { stream: true, partial_images: 1 };

const acts = {
  generate: () => client.images.generate(generation, options),
  several: () => client.images.generate({ ...generation, n: 3 }, options),
  edit: async () => client.images.edit(await edit(), options),
  draw: () => client.responses.create(turn, options),
  generate_stream: () => client.images.generate({ ...generation, ...shown }, options),
  edit_stream: async () => client.images.edit({ ...(await edit()), ...shown }, options),
  draw_stream: () => client.responses.create({ ...turn, stream: true }, options),
};

async function pictures() {
  const answer = await acts[act]();
  const found = [];
  if (!act.endsWith("_stream")) found.push(...given(answer));
  else for await (const event of answer) found.push(...(event.type.endsWith(".completed") ? given(event) : []));
  return found.map(sha);
}

function given(answer) {
  const output = (answer.output ?? answer.response?.output ?? []).filter((item) => item.type === "image_generation_call");
  const all = [answer, ...(answer.data ?? [])].map((one) => one.b64_json);
  return [...all, ...output.map((item) => item.result)].filter(Boolean);
}

const told = [];
for (let time = 0; time < Number(times); time++) {
  try {
    told.push({ pictures: await pictures() });
  } catch (error) {
    told.push({ error: { name: error.constructor.name, status: error.status, code: error.code } });
  }
}
console.log(JSON.stringify(told));

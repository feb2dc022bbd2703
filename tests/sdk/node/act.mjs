// One act of the official Node SDK with its defaults; prints what an application would see, as one JSON line.
// usage: node act.mjs BASE_URL ACT
import OpenAI, { toFile } from "openai";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const [baseURL, act, file] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "sk-anything" });
const sha = (b64) => createHash("sha256").update(Buffer.from(b64, "base64")).digest("hex");

const acts = {
  generate: () => client.images.generate({ model: "pic", prompt: "a lighthouse" }),
  edit: (image) => client.images.edit({ model: "pic", prompt: "at night", image }),
  late: (image) => client.images.edit({ image, prompt: "at night", model: "pic" }),
  edits: (image) => client.images.edit({ model: "pic", prompt: "both", image: [image, image], mask: image }),
  draw: () => client.responses.create({ model: "chat", input: "draw a lighthouse", tools: [{ type: "image_generation" }] }),
};

try {
  const image = file ? await toFile(readFileSync(file), "in.png", { type: "image/png" }) : undefined;
  const { data, response } = await acts[act](image).withResponse();
  print({ data, headers: Object.fromEntries(response.headers) });
} catch (error) {
  console.log(JSON.stringify({ name: error.constructor.name, status: error.status, code: error.code, message: error.message }));
}

function print({ data, headers }) {
  const b64 = data.data?.[0]?.b64_json ?? data.output?.find((item) => item.type === "image_generation_call")?.result;
  console.log(JSON.stringify({ sha256: sha(b64), usage: data.usage, headers }));
}

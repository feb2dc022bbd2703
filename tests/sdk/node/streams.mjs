// One streamed act of the official Node SDK with its defaults; prints the events an application would see, as JSON.
// usage: node streams.mjs BASE_URL ACT [FILE]
import OpenAI, { toFile } from "openai";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const [baseURL, act, file] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "sk-anything" });
const sha = (b64) => createHash("sha256").update(Buffer.from(b64, "base64")).digest("hex");
const shown = { stream: true, partial_images: 2 };

const acts = {
  generate: () => client.images.generate({ model: "pic", prompt: "a lighthouse", ...shown }),
  edit: (image) => client.images.edit({ model: "pic", prompt: "at night", image, ...shown }),
  draw: () =>
    client.responses.create({
      model: "chat",
      input: "draw",
      stream: true,
      tools: [{ type: "image_generation", partial_images: 1 }],
    }),
};

const told = { types: [] };
try {
  const image = file ? await toFile(readFileSync(file), "in.png", { type: "image/png" }) : undefined;
  const { data, response } = await acts[act](image).withResponse();
  told.headers = Object.fromEntries(response.headers);
  for await (const event of data) {
    told.types.push(event.type);
    const call = event.response?.output?.find((item) => item.type === "image_generation_call");
    const b64 = event.b64_json ?? event.partial_image_b64 ?? call?.result;
    if (b64) told.sha256 = sha(b64);
  }
} catch (error) {
  told.error = { name: error.constructor.name, status: error.status, code: error.code, message: error.message };
}
console.log(JSON.stringify(told));

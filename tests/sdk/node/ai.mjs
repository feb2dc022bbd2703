// One act of the AI SDK with its defaults; prints what an application would see, as one JSON line.
// usage: node ai.mjs BASE_URL ACT
import { createOpenAI } from "@ai-sdk/openai";
import { experimental_generateImage as generateImage, generateText, streamText } from "ai";

const [baseURL, act] = process.argv.slice(2);
const openai = createOpenAI({ baseURL, apiKey: "sk-anything" });
const tools = { image_generation: openai.tools.imageGeneration({ outputFormat: "png" }) };

const acts = {
  image: async () => {
    const { images } = await generateImage({ model: openai.image("gpt-image-2"), prompt: "a lighthouse", n: 1 });
    return { bytes: images[0].uint8Array.length, kind: images[0].mediaType };
  },
  text: async () => {
    const { text } = await generateText({ model: openai.responses("chat"), prompt: "hello" });
    return { text };
  },
  stream: async () => {
    let text = "";
    for await (const delta of streamText({ model: openai.responses("chat"), prompt: "hello" }).textStream) text += delta;
    return { text };
  },
  draw: async () => {
    const { text, staticToolResults, toolResults } = await generateText({ model: openai.responses("chat"), prompt: "draw", tools });
    const drawn = [...(staticToolResults ?? []), ...(toolResults ?? [])].find((one) => one.toolName === "image_generation");
    return { text, bytes: Buffer.from(drawn.output.result, "base64").length };
  },
  turns: async () => {
    const first = await generateText({ model: openai.responses("chat"), prompt: "hello" });
    const previousResponseId = first.providerMetadata.openai.responseId;
    const { text } = await generateText({
      model: openai.responses("chat"), prompt: "go on", providerOptions: { openai: { previousResponseId } },
    });
    return { text };
  },
};

try {
  console.log(JSON.stringify(await acts[act]()));
} catch (error) {
  console.log(JSON.stringify({ name: error.name, message: error.message }));
}

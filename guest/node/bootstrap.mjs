// The bundled Node.js runtime: waits on its channel for a function, then for one invocation after another.
// docs/architecture.md, "Runtime channel"; behaves as AWS's Runtime Interface Client for Node.js does, but for its speed.

import { createRequire } from "node:module";
import { setImmediate } from "node:timers/promises";

import { openChannel } from "./hanabi/channel.mjs";
import { patchConsole, takeFrameDescriptor, writeSynchronously } from "./hanabi/console.mjs";
import { loadHandler } from "./hanabi/handler.mjs";
import { catchErrors, failInit, serve } from "./hanabi/invocations.mjs";
import { extendResolution } from "./hanabi/resolution.mjs";

const channel = openChannel(Number(process.env.HANABI_RUNTIME_FD ?? 4));
extendResolution(process.env.NODE_PATH);
catchErrors(channel);
writeSynchronously();
takeFrameDescriptor();

const init = await channel.receiveInit();
delete process.env.HANABI_RUNTIME_FD;
if (init.generic) {
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, init.environment);
} // else it was started for the function, and has its environment with what a wrapper made of it
process.chdir(init.task_root);
patchConsole();
try {
  const handler = await loadHandler(init.task_root, (!init.generic && process.env._HANDLER) || init.handler, createRequire(import.meta.url));
  await setImmediate(); // a rejection that nobody caught while loading is an init error
  serve(channel, handler);
} catch (error) {
  failInit(channel, error);
}

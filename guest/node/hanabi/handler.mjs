// Finding a function's handler: `file.function`, `folder/file.function`, `file.object.function`; CommonJS or ES module.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { HandlerNotFound, ImportModuleError, MalformedHandlerName, UserCodeSyntaxError } from "./errors.mjs";
import { installStreaming } from "./streaming.mjs";

export async function loadHandler(taskRoot, name, require) {
  if (name.includes("..")) {
    const advice = "Use absolute paths when specifying root directories in handler names.";
    throw new MalformedHandlerName(`'${name}' is not a valid handler name. ${advice}`);
  }
  const base = path.basename(name);
  const folder = name.slice(0, name.lastIndexOf(base));
  const [, file, property] = /^([^.]*)\.(.*)$/.exec(base) ?? [];
  if (property === undefined) throw new MalformedHandlerName("Bad handler");

  installStreaming();
  let loaded;
  try {
    loaded = await loadModule(taskRoot, folder, file, require);
  } catch (error) {
    if (error instanceof SyntaxError) throw new UserCodeSyntaxError(error);
    if (error?.code === "MODULE_NOT_FOUND") throw new ImportModuleError(error);
    throw error;
  }
  const handler = property.split(".").reduce((object, key) => object && object[key], loaded);
  if (!handler) throw new HandlerNotFound(`${name} is undefined or not exported`);
  if (typeof handler !== "function") throw new HandlerNotFound(`${name} is not a function`);
  return handler;
}

async function loadModule(taskRoot, folder, file, require) {
  const bare = path.resolve(taskRoot, folder, file);
  const isModule = existsSync(`${bare}.js`) && isTypeModule(path.dirname(bare));
  for (const extension of ["", ".js", ".mjs", ".cjs"]) {
    const candidate = bare + extension;
    if (!existsSync(candidate)) continue;
    const loaded = extension === ".mjs" || (extension === ".js" && isModule) ? await import(pathToFileURL(candidate)) : require(candidate);
    if (loaded) return loaded;
  }
  return require(require.resolve(file, { paths: [taskRoot, folder] }));
}

/** Whether the nearest package.json makes `.js` files ES modules. */
function isTypeModule(folder) {
  if (folder.endsWith("/node_modules")) return false;
  const description = path.join(folder, "package.json");
  if (existsSync(description)) {
    try {
      return JSON.parse(readFileSync(description, "utf8"))?.type === "module";
    } catch (error) {
      console.warn(`${description} cannot be read, it will be ignored for ES module detection purposes.`, error);
      return false;
    }
  }
  return folder !== "/" && isTypeModule(path.dirname(folder));
}

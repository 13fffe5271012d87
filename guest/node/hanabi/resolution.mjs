// ES modules ignore NODE_PATH; in Lambda they find layers and the AWS SDK all the same.

import * as module from "node:module";
import { pathToFileURL } from "node:url";

let parents = []; // pretended importers, one beside each node_modules of NODE_PATH

export function extendResolution(nodePath) {
  const beside = (nodePath ?? "")
    .split(":")
    .filter((folder) => /\/node_modules\/?$/.test(folder))
    .map((folder) => new URL("../importer.mjs", pathToFileURL(folder.replace(/\/*$/, "/"))).href);
  if (!beside.length) return;
  if (module.registerHooks) {
    initialize(beside);
    module.registerHooks({ resolve: resolveNow });
  } else {
    module.register(import.meta.url, { data: beside });
  }
}

export function initialize(beside) {
  parents = beside;
}

const isMissing = (error, specifier) => error.code === "ERR_MODULE_NOT_FOUND" && !/^(\.{0,2}\/|[a-z]+:)/.test(specifier);

export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (!isMissing(error, specifier)) throw error;
    for (const parentURL of parents) {
      try {
        return await next(specifier, { ...context, parentURL });
      } catch {
        continue;
      }
    }
    throw error;
  }
}

function resolveNow(specifier, context, next) {
  try {
    return next(specifier, context);
  } catch (error) {
    if (!isMissing(error, specifier)) throw error;
    for (const parentURL of parents) {
      try {
        return next(specifier, { ...context, parentURL });
      } catch {
        continue;
      }
    }
    throw error;
  }
}

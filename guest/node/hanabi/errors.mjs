// Errors in Lambda's form.

import { types } from "node:util";

import { isJson } from "./console.mjs";

class RuntimeError extends Error {
  get name() {
    return `Runtime.${this.constructor.name}`;
  }
}

export class ImportModuleError extends RuntimeError {}
export class HandlerNotFound extends RuntimeError {}
export class MalformedHandlerName extends RuntimeError {}
export class UserCodeSyntaxError extends RuntimeError {}
export class MalformedStreamingHandler extends RuntimeError {}
export class InvalidStreamingOperation extends RuntimeError {}
export class UnhandledPromiseRejection extends RuntimeError {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}

const isText = (value) => typeof value === "string" && value !== "";
const isError = (value) => types.isNativeError(value) || (isText(value?.name) && isText(value?.message) && isText(value?.stack));

/** The JSON text a caller gets. */
export function describe(error) {
  try {
    if (isError(error)) {
      const [errorType, errorMessage, stack] = [error.name, error.message, error.stack].map((text) => text.replaceAll("\x7f", "%7F"));
      return JSON.stringify({ errorType, errorMessage, trace: stack.split("\n") });
    }
    return JSON.stringify({ errorType: typeof error, errorMessage: error.toString(), trace: [] });
  } catch {
    const problem = "there was a problem while retrieving one or more of its message, name, and stack";
    return JSON.stringify({ errorType: "handled", errorMessage: `callback called with Error argument, but ${problem}` });
  }
}

/** Logs it as Lambda does. In text: a label, a tab, and all that is known about the error as JSON. */
export function logError(label, thrown) {
  const error = thrown instanceof Error ? thrown : new Error(thrown);
  if (isJson()) return console.error(error);
  let text;
  try {
    text = JSON.stringify(error, (_, value) => (value instanceof Error ? enumerate(value) : value));
  } catch {
    text = describe(error);
  }
  console.error(label, `\t${text}`);
}

function enumerate(error) {
  const known = { errorType: error.name, errorMessage: error.message, code: error.code, ...error };
  if (typeof error.stack === "string") known.stack = error.stack.split("\n");
  return known;
}

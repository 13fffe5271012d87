// The console in Lambda's formats. Text: time, request id, level, message; as one line, whose line breaks become carriage returns. JSON:
// as aws-lambda-ric has it.

import { format } from "node:util";

const LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
const REQUEST_ID = Symbol.for("aws.lambda.runtime.requestId");

export function setRequestId(requestId) {
  globalThis[REQUEST_ID] = requestId;
}

/** A write returns when the pipe has taken all of it: Node.js would queue what a full pipe does not take, and lose it when it exits. */
export function writeSynchronously() {
  for (const stream of [process.stdout, process.stderr]) stream._handle?.setBlocking?.(true);
}

export function patchConsole() {
  const print = isJson() ? printJson : printText;
  const lowest = Math.max(0, LEVELS.indexOf(process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()));
  LEVELS.forEach((level, rank) => {
    console[level.toLowerCase()] = rank < lowest && level !== "FATAL" ? () => {} : (message, ...values) => print(level, message, values);
  });
  console.log = console.info;
}

export function isJson() {
  return process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === "JSON";
}

function printJson(level, message, values) {
  const said = { timestamp: new Date().toISOString(), level, requestId: globalThis[REQUEST_ID] };
  let line;
  if (values.length === 0) {
    said.message = message;
    try {
      line = JSON.stringify(said, (_, value) => (value instanceof Error ? { ...describeError(value), ...value } : value));
    } catch {
      said.message = format(message); // it cannot be JSON: circular, a BigInt ...
    }
  } else {
    said.message = format(message, ...values);
    const error = [message, ...values].find((value) => value instanceof Error);
    if (error) Object.assign(said, describeError(error));
  }
  process.stdout.write((line ?? JSON.stringify(said)) + "\n");
}

function describeError(error) {
  const stack = error.stack;
  return {
    errorType: error.constructor?.name ?? "UnknownError",
    errorMessage: error.message,
    stackTrace: typeof stack === "string" ? stack.split("\n") : stack,
  };
}

function printText(level, message, values) {
  const line = `${new Date().toISOString()}\t${globalThis[REQUEST_ID]}\t${level}\t${format(message, ...values)}`;
  process.stdout.write(line.replaceAll("\n", "\r") + "\n");
}

// The console in Lambda's format: time, request id, level, message. A message is one line: its line breaks become carriage returns.

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
  const lowest = Math.max(0, LEVELS.indexOf(process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()));
  LEVELS.forEach((level, rank) => {
    console[level.toLowerCase()] = rank < lowest && level !== "FATAL" ? () => {} : (message, ...values) => print(level, message, values);
  });
  console.log = console.info;
}

function print(level, message, values) {
  const line = `${new Date().toISOString()}\t${globalThis[REQUEST_ID]}\t${level}\t${format(message, ...values)}`;
  process.stdout.write(line.replaceAll("\n", "\r") + "\n");
}

// The console in Lambda's formats. Text: time, request id, level, message. JSON: as aws-lambda-ric has it. A message is one
// event: it goes out in a frame, or, where there is no descriptor for frames, as one line whose line breaks become carriage returns.

import { writeSync } from "node:fs";
import { format } from "node:util";

const LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
const REQUEST_ID = Symbol.for("aws.lambda.runtime.requestId");
let tenantId; // of the invocation under way, of a function with tenant isolation

export function setRequest(request) {
  globalThis[REQUEST_ID] = request.requestId;
  tenantId = request.tenantId;
}

const FRAME_HEAD_BYTES = 16;
const [JSON_FRAME, TEXT_FRAME] = [0xa55a0002, 0xa55a0003]; // plus the level in bits 2 to 4: hanabi/environment/log_frames.py
let frames = null; // the descriptor

export function takeFrameDescriptor() {
  if (process.env._LAMBDA_TELEMETRY_LOG_FD) frames = Number(process.env._LAMBDA_TELEMETRY_LOG_FD);
  delete process.env._LAMBDA_TELEMETRY_LOG_FD;
}

function write(line, level, kind) {
  if (frames === null) return process.stdout.write(line.replaceAll("\n", "\r") + "\n");
  const size = Buffer.byteLength(line);
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + size);
  frame.writeUInt32BE((kind | ((LEVELS.indexOf(level) + 1) << 2)) >>> 0, 0);
  frame.writeUInt32BE(size, 4);
  frame.writeBigUInt64BE(BigInt(Date.now()) * 1000n, 8);
  frame.write(line, FRAME_HEAD_BYTES);
  for (let at = 0; at < frame.length; ) {
    try {
      at += writeSync(frames, frame, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error; // full, and a process of the function's has made it non-blocking
    }
  }
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
  const said = { timestamp: new Date().toISOString(), level, requestId: globalThis[REQUEST_ID], tenantId };
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
  write(line ?? JSON.stringify(said), level, JSON_FRAME);
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
  write(line, level, TEXT_FRAME);
}

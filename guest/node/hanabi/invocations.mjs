// Invocations: call the handler, wait for it in whichever way it ends, answer. This is the warm path.

import { finished } from "node:stream/promises";
import { setImmediate } from "node:timers"; // whatever a function makes of the global one

import { setRequest } from "./console.mjs";
import { UnhandledPromiseRejection, describe, logError } from "./errors.mjs";
import { ResponseStream, isStreaming } from "./streaming.mjs";

const UNHANDLED_REJECTION = 128; // exit statuses, as Lambda's
const UNCAUGHT_EXCEPTION = 129;

let state = "init"; // "init" | "idle" | "busy"
let onEmptyLoop = () => {}; // what to do when nothing is left to wait for

export function catchErrors(channel) {
  process.on("uncaughtException", (error) => {
    logError("Uncaught Exception", error);
    die(channel, error, UNCAUGHT_EXCEPTION);
  });
  process.on("unhandledRejection", (reason, promise) => {
    const error = new UnhandledPromiseRejection(reason, promise);
    logError("Unhandled Promise Rejection", error);
    die(channel, error, UNHANDLED_REJECTION);
  });
  process.on("beforeExit", () => onEmptyLoop());
}

export function failInit(channel, error) {
  logError("Uncaught Exception", error);
  die(channel, error, UNCAUGHT_EXCEPTION);
}

/** Tell the host why, then exit: `e` for an init, `x` for an invocation, nothing when none is under way. */
function die(channel, error, status) {
  if (state === "idle") process.exit(status);
  channel.send(state === "init" ? "e" : "x", describe(error), () => process.exit(status));
  state = "idle";
}

export function serve(channel, handler) {
  const run = isStreaming(handler) ? runStreaming : runPlain;
  channel.onInvoke = (request) => {
    state = "busy";
    channel.work();
    setRequest(request);
    run(channel, handler, request);
  };
  state = "idle";
  channel.send("r", "");
}

/** Once what the function left behind, rejections and immediates, has had its turn: it may have ended the process. */
function getReady(channel) {
  channel.send("r", "");
}

/** The ends of one invocation; only the first one counts. */
function openAnswer(channel) {
  let open = true;
  const close = (kind, body) => {
    if (!open || state !== "busy") return;
    open = false;
    onEmptyLoop = () => {};
    state = "idle";
    channel.wait();
    channel.send(kind, body);
    setImmediate(getReady, channel);
  };
  return {
    isOpen: () => open && state === "busy",
    succeed: (body) => close("o", body),
    end: () => close("d", ""),
    fail: (error) => {
      if (open) logError("Invoke Error", error);
      close("f", describe(error));
    },
  };
}

function runPlain(channel, handler, request) {
  const answer = openAnswer(channel);
  let waitForEmptyLoop = true;
  let finished = false;
  const once = (end) => (first, second) => {
    if (finished) return;
    finished = true;
    end(first, second);
  };
  const settle = (error, result) => {
    if (error !== undefined && error !== null) return answer.fail(error);
    let body;
    try {
      body = JSON.stringify(result) ?? "null";
    } catch {
      return answer.fail(new Error("Unable to stringify response body"));
    }
    answer.succeed(body);
  };
  const done = once(settle);
  const callback = once((error, result) => {
    if (waitForEmptyLoop && (error === undefined || error === null)) onEmptyLoop = () => setImmediate(settle, null, result);
    else settle(error, result);
  });
  const context = {
    get callbackWaitsForEmptyEventLoop() {
      return waitForEmptyLoop;
    },
    set callbackWaitsForEmptyEventLoop(value) {
      waitForEmptyLoop = value;
    },
    succeed: (result) => done(null, result),
    fail: (error) => done(error ?? "handled"),
    done,
  };
  onEmptyLoop = () => answer.succeed("null"); // it neither returned a promise nor called back
  try {
    fillContext(context, request);
    const result = handler(JSON.parse(request.payload), context, callback);
    if (typeof result?.then === "function") result.then(context.succeed, context.fail);
  } catch (error) {
    done(error);
  }
}

async function runStreaming(channel, handler, request) {
  const answer = openAnswer(channel);
  const stream = new ResponseStream(channel, handler, answer.isOpen);
  const context = { callbackWaitsForEmptyEventLoop: true };
  onEmptyLoop = () => answer.fail(new Error("Response stream is not finished."));
  try {
    fillContext(context, request);
    const returned = handler(JSON.parse(request.payload), stream, context);
    if (typeof returned?.then !== "function") throw "Streaming does not support non-async handlers.";
    if ((await returned) !== undefined) console.warn("Streaming handlers ignore return values.");
    await finished(stream);
    answer.end();
  } catch (error) {
    answer.fail(error);
  }
}

function fillContext(context, request) {
  const { env } = process;
  if (request.trace) env._X_AMZN_TRACE_ID = request.trace;
  else delete env._X_AMZN_TRACE_ID;
  context.functionVersion = env.AWS_LAMBDA_FUNCTION_VERSION;
  context.functionName = env.AWS_LAMBDA_FUNCTION_NAME;
  context.memoryLimitInMB = env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE;
  context.logGroupName = env.AWS_LAMBDA_LOG_GROUP_NAME;
  context.logStreamName = env.AWS_LAMBDA_LOG_STREAM_NAME;
  context.clientContext = request.clientContext ? parseClientContext(request.clientContext) : undefined;
  context.identity = undefined;
  context.invokedFunctionArn = request.arn;
  context.awsRequestId = request.requestId;
  context.tenantId = request.tenantId;
  context.getRemainingTimeInMillis = () => request.deadlineMs - Date.now();
}

function parseClientContext(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Cannot parse ClientContext as json: ${error}`);
  }
}

// awslambda.streamifyResponse: handlers that write their response. It is collected here and sent whole.

import { Writable } from "node:stream";

import { InvalidStreamingOperation, MalformedStreamingHandler } from "./errors.mjs";

const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const HTTP_PRELUDE = "application/vnd.awslambda.http-integration-response";

export function installStreaming() {
  if (/^(1|true)$/.test(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
  globalThis.awslambda = {
    streamifyResponse: (handler) => Object.assign(handler, { [STREAMING]: "response" }),
    HttpResponseStream: {
      from(stream, prelude) {
        stream.setContentType(HTTP_PRELUDE);
        stream.write(JSON.stringify(prelude));
        stream.write(new Uint8Array(8));
        return stream;
      },
    },
  };
}

export function isStreaming(handler) {
  const mode = handler[STREAMING];
  if (mode === undefined || mode === null || mode === false) return false;
  if (mode !== "response") throw new MalformedStreamingHandler("Only response streaming is supported.");
  return true;
}

export class ResponseStream extends Writable {
  #parts = [];

  setContentType(contentType) {
    if (this.#parts.length) throw new InvalidStreamingOperation("Cannot set content-type, too late.");
    this.contentType = contentType;
  }

  write(chunk, ...rest) {
    const raw = typeof chunk === "string" || chunk instanceof Uint8Array;
    return super.write(raw ? chunk : JSON.stringify(chunk), ...rest);
  }

  _write(chunk, encoding, done) {
    this.#parts.push(chunk);
    done();
  }

  collected() {
    return Buffer.concat(this.#parts);
  }
}

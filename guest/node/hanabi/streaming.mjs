// awslambda.streamifyResponse: handlers that write their response. Each piece goes to the host when it is written, no faster than it takes it.

import { Writable } from "node:stream";

import { InvalidStreamingOperation, MalformedStreamingHandler } from "./errors.mjs";

const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const HIGH_WATER_MARK = Symbol.for("aws.lambda.runtime.handler.streaming.highWaterMark");
const HTTP_PRELUDE = "application/vnd.awslambda.http-integration-response";

export function installStreaming() {
  if (/^(1|true)$/.test(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
  globalThis.awslambda = {
    streamifyResponse(handler, options) {
      handler[STREAMING] = "response";
      if (typeof options?.highWaterMark === "number") handler[HIGH_WATER_MARK] = Math.trunc(options.highWaterMark);
      return handler;
    },
    HttpResponseStream: {
      /** As in Lambda, the prelude goes with the first `write`: a stream that is only ended has none. */
      from(stream, prelude) {
        stream.setContentType(HTTP_PRELUDE);
        const text = JSON.stringify(prelude);
        stream._onBeforeFirstWrite = (write) => {
          write(text);
          write(new Uint8Array(8));
        };
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

/** What a handler writes to. `isOpen` tells whether its invocation still runs: what comes later is discarded. */
export class ResponseStream extends Writable {
  #channel;
  #isOpen;
  #isWritten = false; // the function has called `write`
  #hasBegun = false; // the host knows of the answer
  #contentType = "application/octet-stream";

  constructor(channel, handler, isOpen) {
    super({ highWaterMark: handler[HIGH_WATER_MARK] });
    this.#channel = channel;
    this.#isOpen = isOpen;
    this.on("error", () => {}); // whoever waits for its end is told
  }

  setContentType(contentType) {
    if (this.#isWritten) throw new InvalidStreamingOperation("Cannot set content-type, too late.");
    this.#contentType = contentType;
  }

  write(chunk, ...rest) {
    const isRaw = typeof chunk === "string" || chunk instanceof Uint8Array;
    if (!this.#isWritten && typeof this._onBeforeFirstWrite === "function") this._onBeforeFirstWrite((first) => super.write(first));
    this.#isWritten = true;
    return super.write(isRaw ? chunk : JSON.stringify(chunk), ...rest);
  }

  _write(chunk, encoding, done) {
    if (!this.#isOpen()) return done();
    this.#begin();
    this.#channel.sendPiece(chunk, () => done());
  }

  _writev(chunks, done) {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), null, done);
  }

  _final(done) {
    if (this.#isOpen()) this.#begin();
    done();
  }

  #begin() {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    this.#channel.send("s", `${this.#contentType}`);
  }
}

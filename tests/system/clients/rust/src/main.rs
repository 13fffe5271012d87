//! A function on AWS's Rust library, as its documentation writes one.

use lambda_runtime::streaming::{channel, Body, Response};
use lambda_runtime::{service_fn, Error, FunctionResponse, LambdaEvent};
use serde_json::{json, Value};
use std::time::Duration;

/// The answer in pieces, after its prelude; it fails in the middle if the event says so.
fn stream(fails: bool) -> Body {
    let (mut sender, body) = channel();
    tokio::spawn(async move {
        let _ = sender.send_data("one".into()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        if fails {
            sender.abort();
        } else {
            let _ = sender.send_data("two".into()).await;
        }
    });
    body
}

async fn handle(event: LambdaEvent<Value>) -> Result<FunctionResponse<Value, Body>, Error> {
    let (event, context) = event.into_parts();
    match event["do"].as_str() {
        Some("fail") => return Err("no good".into()),
        Some("stream") => return Ok(FunctionResponse::StreamingResponse(Response::from(stream(event["n"].as_i64() < Some(0))))),
        Some("panic") => panic!("panicked"),
        _ => (),
    }
    println!("handling {}", event["n"]);
    Ok(FunctionResponse::BufferedResponse(json!({
        "twice": 2 * event["n"].as_i64().unwrap_or(0),
        "requestId": context.request_id,
        "arn": context.invoked_function_arn,
        "function": context.env_config.function_name,
        "custom": context.client_context.map(|client| client.custom),
    })))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}

//! A function on AWS's Rust library, as its documentation writes one.

use lambda_runtime::{service_fn, Error, LambdaEvent};
use serde_json::{json, Value};

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, context) = event.into_parts();
    match event["do"].as_str() {
        Some("fail") => return Err("no good".into()),
        Some("panic") => panic!("panicked"),
        _ => (),
    }
    println!("handling {}", event["n"]);
    Ok(json!({
        "twice": 2 * event["n"].as_i64().unwrap_or(0),
        "requestId": context.request_id,
        "arn": context.invoked_function_arn,
        "function": context.env_config.function_name,
        "custom": context.client_context.map(|client| client.custom),
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}

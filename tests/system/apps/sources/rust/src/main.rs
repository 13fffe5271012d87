use lambda_http::{run, service_fn, Body, Error, Request, RequestExt, Response};
async fn handler(event: Request) -> Result<Response<Body>, Error> {
    let who = event.query_string_parameters_ref().and_then(|p| p.first("name")).unwrap_or("world").to_string();
    if event.uri().path() == "/err" { return Err("rust broken".into()); }
    if event.uri().path() == "/panic" { panic!("rust panicked"); }
    let n = event.body().len();
    Ok(Response::builder().status(200).header("content-type", "text/plain; charset=utf-8").header("set-cookie", "a=1")
       .body(format!("hello {who} at {} with {n}", event.uri().path()).into())?)
}
#[tokio::main]
async fn main() -> Result<(), Error> { run(service_fn(handler)).await }

// SPDX-License-Identifier: Apache-2.0
// With the argument "rustls" that TLS library with the system's roots, else OpenSSL.
use std::env;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = reqwest::blocking::Client::builder();
    let client = match env::args().nth(1).as_deref() {
        Some("rustls") => builder.use_rustls_tls(),
        _ => builder.use_native_tls(),
    }
    .build()?;
    let answer = client
        .get(format!("https://{}/big", env::var("HOST")?))
        .bearer_auth(env::var("S1")?)
        .send()?;
    println!("{} {}", answer.status().as_u16(), answer.bytes()?.len());
    Ok(())
}

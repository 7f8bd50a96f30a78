//! Downloads from a server that does what it is told, its faults too.

use std::io::Read;

use super::super::http_server::{HttpServer, Reply};
use super::super::verify::Verification;
use super::super::{Context, Error};
use super::{FetchOptions, open};

fn read(url: &str) -> Result<Vec<u8>, Error> {
    let mut incoming = open(url, &Verification::none(), &FetchOptions::default(), &Context::silent())?;
    let mut bytes = Vec::new();
    incoming.read_to_end(&mut bytes).map_err(|error| error.downcast::<Error>().unwrap())?;
    incoming.verify()?;
    Ok(bytes)
}

#[test]
fn whole() {
    let server = HttpServer::start();
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let rows = [
        ("plain", Reply::bytes(body.clone())),
        ("chunked", Reply::bytes(body.clone()).chunked()),
        ("until the end", Reply::bytes(body.clone()).without_length()),
    ];
    for (name, reply) in rows {
        server.put("/a", reply);
        assert!(read(&server.url("/a")).unwrap() == body, "{name}");
    }
    server.put("/b", Reply::redirect(302, "/a"));
    assert!(read(&server.url("/b")).unwrap() == body);
    server.put("/c", Reply::redirect(302, "/c"));
    assert_eq!(
        read(&server.url("/c")).unwrap_err().to_string(),
        format!("{} leads to more than 10 redirects", server.url("/c"))
    );
}
